internal import DeviceRPC

/// What commands print of events, after the name of the device.
enum EventWords {
  static func online(from place: String) -> String { "connected from \(place)" }
  static func offline(_ reason: String) -> String { "disconnected: \(reason.cut())" }
  static func quiet(_ evidence: String) -> String { "is quiet: \(evidence.cut())" }
  static let heardAgain = "is heard again"

  static func ended(_ id: String, _ status: RPCStatus, _ detail: RPCValue?, after time: Duration) -> String {
    "\(id) \(status)\(detail.map { " \($0)" } ?? "") \(time.milliseconds)"
  }

  static func failed(_ id: String, _ reason: String) -> String { "\(id): \(reason)" }

  static func forbidden(_ id: String) -> String { "sent a result for \(id.cut(to: 64)), a call to another device" }

  static func stray(_ id: String, isLate: Bool) -> String {
    "\(id.cut(to: 64)): \(isLate ? "late or repeated result" : "result of an unknown call")"
  }

  static func unreadable(_ id: String?, _ reason: String) -> String {
    (id.map { "\($0.cut(to: 64)): " } ?? "") + "unreadable result: \(reason.cut())"
  }

  /// Where a device is: `127.0.0.1:40213 (Golioth, CBOR)`.
  static func place(_ address: String?, _ dialect: String?) -> String {
    (address ?? "nowhere") + (dialect.map { " (\($0))" } ?? "")
  }
}
