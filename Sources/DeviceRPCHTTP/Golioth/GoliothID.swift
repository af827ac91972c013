internal import DeviceRPC
internal import Foundation

/// The id of a device or a project: its name where that is safe in a path, since the tools put ids into paths as they are;
/// otherwise `~` and the name in base64url.
enum GoliothID {
  private static let plain = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~@:".utf8)

  static func id(of name: String) -> String {
    if name.utf8.first != UInt8(ascii: "~"), name != ".", name != "..", name.utf8.allSatisfy(plain.contains) { return name }
    let text = Data(name.utf8).base64EncodedString()
    return "~" + text.replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
  }

  /// The name of an id. Any other text is taken for a name.
  static func name(of id: String) -> String {
    guard id.utf8.first == UInt8(ascii: "~") else { return id }
    var text = String(id.dropFirst()).replacing("-", with: "+").replacing("_", with: "/")
    text += String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
    guard let data = Data(base64Encoded: text), let name = String(validating: data, as: UTF8.self) else { return id }
    return self.id(of: name) == id ? name : id
  }
}

extension APIRequest {
  var goliothProject: String { GoliothID.name(of: parameter("project")) }
  var goliothDevice: String { GoliothID.name(of: parameter("device")) }

  /// An item of the query, which may be there once. Others are ignored: the tools send more than this server knows.
  func goliothQuery(_ name: String) throws(Problem) -> String? {
    let values = query.filter { $0.name == name }.map(\.value)
    guard values.count <= 1 else { throw Self.wrong(name, "given once") }
    return values.first
  }
}

extension RouteDescription.Parameter {
  static let goliothProject = path("project", "The id or the name of the project.")
  static let goliothDevice = path("device", "The id or the name of the device.")
}
