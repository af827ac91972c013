// Console: the web page for operators: its files, in the folder Web, and the routes that send them.
// The room Server mounts them. The page itself uses nothing but the API, as any other client does.

internal import NIOCore

/// A file of the console. Files are embedded in the program, so that it can be moved without them.
struct ConsoleFile: Sendable {
  let content: ByteBuffer
  let type: String
  /// The `ETag`.
  let tag: String

  private init(_ bytes: [UInt8], _ type: String) {
    content = ByteBuffer(bytes: bytes)
    self.type = type
    tag = APIRequest.tag(of: bytes)
  }

  private static func script(_ bytes: [UInt8]) -> Self { Self(bytes, "text/javascript; charset=utf-8") }
  private static func style(_ bytes: [UInt8]) -> Self { Self(bytes, "text/css; charset=utf-8") }
  private static func image(_ bytes: [UInt8]) -> Self { Self(bytes, "image/svg+xml") }

  static let page = Self(PackageResources.index_html, "text/html; charset=utf-8")

  /// All but the page, by their names. A test compares them with the folder.
  static let all: [String: ConsoleFile] = [
    "access.js": script(PackageResources.access_js),
    "allcalls.js": script(PackageResources.allcalls_js),
    "api.js": script(PackageResources.api_js),
    "app.js": script(PackageResources.app_js),
    "callform.js": script(PackageResources.callform_js),
    "calls.js": script(PackageResources.calls_js),
    "charts.js": script(PackageResources.charts_js),
    "device.js": script(PackageResources.device_js),
    "devices.js": script(PackageResources.devices_js),
    "dialogs.js": script(PackageResources.dialogs_js),
    "dom.js": script(PackageResources.dom_js),
    "events.js": script(PackageResources.events_js),
    "feed.js": script(PackageResources.feed_js),
    "format.js": script(PackageResources.format_js),
    "icon.svg": image(PackageResources.icon_svg),
    "overview.js": script(PackageResources.overview_js),
    "panels.js": script(PackageResources.panels_js),
    "params.js": script(PackageResources.params_js),
    "snippets.js": script(PackageResources.snippets_js),
    "store.js": script(PackageResources.store_js),
    "style.css": style(PackageResources.style_css),
    "terminal.js": script(PackageResources.terminal_js),
    "timeline.js": script(PackageResources.timeline_js),
    "tree.js": script(PackageResources.tree_js),
    "views.css": style(PackageResources.views_css),
    "virtual.js": script(PackageResources.virtual_js),
    "widgets.js": script(PackageResources.widgets_js),
  ]
}
