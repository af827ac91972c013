internal import DeviceRPC
internal import Foundation

extension APIKey {
  /// The key as JSON, for programs. It includes the text only if the key is new.
  func json(text: APIKeyText? = nil) -> RPCValue {
    var object = RPCObject([
      ("id", .string(id)),
      ("name", .string(name)),
      ("created", .string(created.formatted(.iso8601))),
      ("expires", expires.map { .string($0.formatted(.iso8601)) } ?? .null),
      ("expired", .bool(isExpired(at: Date()))),
      ("permissions", permissions.value),
    ])
    if let text { object["key"] = .string(text.text) }
    return .object(object)
  }

  /// A new key as lines for people.
  func lines(_ text: APIKeyText) -> [String] {
    let rows = [
      ["id", id], ["may", permissions.actions], ["devices", permissions.devices.phrase], ["expires", expiry], ["key", text.text],
    ]
    return table(rows) + ["The key is not shown again."] + use(text)
  }

  /// A command that uses the key, if it may do what is easily typed.
  private func use(_ text: APIKeyText) -> [String] {
    let curl = "curl -H 'Authorization: Bearer \(text.text)'"
    let devices = "http://127.0.0.1:8080/v1/devices"
    if permissions.allowsReading { return ["", "to see devices with it:", "\(curl) \(devices)"] }
    guard permissions.methods != .none else { return [] }
    return ["", "to call a device with it:", "\(curl) --json '{\"method\": \"METHOD\"}' \(devices)/DEVICE/calls"]
  }

  /// `never`, `2027-01-31 00:00:00`, or the same as `expired 2027-01-31 00:00:00`; in UTC.
  var expiry: String {
    guard let expires else { return "never" }
    return (isExpired(at: Date()) ? "expired " : "") + expires.readable
  }
}

extension APIPermissions {
  /// `call, read`, `call reboot or update, administer`, `nothing`.
  var actions: String {
    var actions: [String] = []
    switch methods {
    case .all: actions.append("call")
    case .only(let names) where !names.isEmpty: actions.append("call " + names.sorted().joined(separator: " or "))
    case .only: break
    }
    if allowsReading { actions.append("read") }
    if allowsAdministering { actions.append("administer") }
    return actions.isEmpty ? "nothing" : actions.joined(separator: ", ")
  }
}

extension APIPermissions.DeviceScope {
  /// `all`, `pump, plant-*`, `none`.
  var phrase: String {
    switch self {
    case .all: return "all"
    case .only(let names, let prefixes):
      let texts = names.sorted() + prefixes.sorted().map { "\($0)*" }
      return texts.isEmpty ? "none" : texts.joined(separator: ", ")
    }
  }
}
