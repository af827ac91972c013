internal import DeviceRPC
internal import DeviceRPCStore
internal import Foundation

extension StoredDevice {
  /// The device as JSON, for programs. It includes a key or a token only if that is new.
  func json(new secret: DeviceSecret? = nil) -> RPCValue {
    var object = RPCObject([
      ("name", .string(name)),
      ("enabled", .bool(isEnabled)),
      ("created", .string(created.formatted(.iso8601))),
      ("lastSeen", lastSeen.map { .string($0.formatted(.iso8601)) } ?? .null),
      ("credentials", .array(credentials.map(\.json))),
    ])
    if let key = secret?.key { object["key"] = .string(key) }
    if let token = secret?.token { object["token"] = .string(token) }
    return .object(object)
  }

  /// The device as lines for people.
  var lines: [String] {
    let rows = [
      ["name", name], ["state", isEnabled ? "enabled" : "disabled"], ["created", created.readable],
      ["last seen", lastSeen?.readable ?? "never"],
    ]
    return table(rows + credentials.flatMap(\.rows))
  }
}

extension StoredCredential {
  /// `psk sensor-1@lab`. The identity of an access token is nothing for people.
  var short: String { kind == .accessToken ? kind.rawValue : "\(kind.rawValue) \(identity)" }

  fileprivate var json: RPCValue {
    .object(
      RPCObject([
        ("kind", .string(kind.rawValue)),
        ("identity", .string(identity)),
        ("fingerprint", fingerprint.map { .string($0.hexadecimal) } ?? .null),
        ("created", .string(created.formatted(.iso8601))),
        ("rotated", rotated.map { .string($0.formatted(.iso8601)) } ?? .null),
      ]))
  }

  fileprivate var rows: [[String]] {
    let since = "since \((rotated ?? created).readable)"
    switch kind {
    case .preSharedKey: return [["psk identity", identity], ["key", "\(since), not shown"]]
    case .certificate:
      let accepted = fingerprint.map { "\(since), only SHA-256 \($0.hexadecimal)" } ?? "\(since), any of that name"
      return [["x509 identity", identity], ["certificate", accepted]]
    case .accessToken: return [["access token", "\(since), not shown"]]
    }
  }
}

extension Date {
  /// `2026-01-31 12:00:00`, in UTC.
  var readable: String { formatted(.iso8601).replacing("T", with: " ").replacing("Z", with: "") }
}

/// Rows in aligned columns, two spaces apart.
func table(_ rows: [[String]]) -> [String] {
  // Escaped before the widths are computed, since escapes are longer.
  let rows = rows.map { $0.map(Output.safe) }
  let columns = rows.map(\.count).max() ?? 0
  let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
  return rows.map { row in
    zip(row, widths).enumerated().map { column, cell in
      column == row.count - 1 ? cell.0 : cell.0 + String(repeating: " ", count: cell.1 - cell.0.count)
    }.joined(separator: "  ")
  }
}

extension Output {
  /// Prints lines for people, or with `json` a value in their place.
  func show(_ lines: @autoclosure () -> [String], _ value: @autoclosure () -> RPCValue, json: Bool) {
    if json { self.json(value()) } else { for line in lines() { self.line(line) } }
  }

  /// Prints a row for each item below the heads of the columns, or what to do if there are none; with `json` an array of values.
  func list<Item>(
    _ items: [Item], _ value: (Item) -> RPCValue, json: Bool, empty: String, heads: [String], row: (Item) -> [String]
  ) {
    show(items.isEmpty ? [empty] : table([heads] + items.map(row)), .array(items.map(value)), json: json)
  }

  /// Prints one line of JSON. Characters that could control a terminal are escaped as JSON escapes, so that programs read the
  /// original text.
  func json(_ value: RPCValue) {
    line(Self.safeJSON(value.description))
  }
}
