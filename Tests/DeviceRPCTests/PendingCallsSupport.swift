import DeviceRPC

/// Devices and completions are integers; the completion of each call is its number.
typealias Table = PendingCalls<Int, Int>

extension PendingCalls where Device == Int, Completion == Int {
  mutating func call(
    _ method: String = "m", on device: Int = 1, timeout: Duration = .seconds(10), wait: Duration = .zero,
    at now: Duration = .zero
  ) -> Serial {
    let serial = reserve()
    add(serial, Call(method, wait: wait), to: device, timeout: timeout, completion: Int(serial), now: now)
    return serial
  }

  /// Sends all that may leave now.
  @discardableResult
  mutating func sendAll(_ device: Int = 1, window: Int = 1, at now: Duration = .zero) -> [Serial] {
    var left: [Serial] = []
    while let entry = nextToSend(device, window: window) {
      left.append(entry.serial)
      sent(entry.serial, now: now)
    }
    return left
  }

  /// How much a private collection of the table holds: its memory is a promise, but nobody else's business.
  func stored(_ label: String) -> Int? {
    guard let value = Mirror(reflecting: self).descendant(label) else { return nil }
    if let collection = value as? any Collection { return collection.count }
    return (Mirror(reflecting: value).descendant("_storage") as? any Collection)?.count
  }
}

extension PendingCalls.ResultMatch {
  var serial: UInt32? { if case .call(let entry) = self { entry.serial } else { nil } }
  var isLate: Bool { if case .ended = self { true } else { false } }
  var isUnknown: Bool { if case .unknown = self { true } else { false } }
}
