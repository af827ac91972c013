internal import DeviceRPC
internal import Synchronization

/// The link of a device whose firmware is a function.
final class FirmwareLink: InMemoryLink {
  private let name: String
  private let firmware: InMemoryDevices.Firmware
  // Weak, since the home loop keeps its links.
  private struct Home { weak var loop: DeviceLoop? }
  private let home = Mutex(Home())
  // Unchecked, because it is used by the home loop only.
  nonisolated(unsafe) var record: DeviceRecord?
  private let heardAt = Mutex(Duration.zero)

  init(_ name: String, _ firmware: @escaping InMemoryDevices.Firmware) {
    self.name = name
    self.firmware = firmware
  }

  func attach(to home: DeviceLoop) {
    self.home.withLock { $0.loop = home }
    heard(home)
  }

  private func heard(_ home: DeviceLoop) { heardAt.withLock { $0 = home.driver.now } }

  var address: String { "memory:\(name)" }
  var dialect: String { "in memory" }
  var lastHeard: Duration { heardAt.withLock { $0 } }
  var window: Int { 1 }

  func encode(_ call: Call, id: String) throws(CallError) -> [UInt8] { try CallMessage(call, id: id).encoded() }

  func transmit(_ payload: [UInt8], serial: UInt32) {
    guard let home = home.withLock({ $0.loop }), let message = CallMessage(payload) else { return }
    let reaction = firmware(message.method, message.params)
    if reaction == .lost { return }
    // Deferred, since the home loop is just sending calls.
    home.driver.execute { [self] in
      home.assumeIsolated { home in
        heard(home)
        home.acknowledged(serial, on: self)
        guard case .result(let status, let detail) = reaction else { return }
        home.received(id: message.id, status: status, detail: detail, from: name)
      }
    }
  }

  func probe() {
    guard let home = home.withLock({ $0.loop }) else { return }
    heard(home)
    home.noteProbeEnded(isAnswered: true, on: self)
  }

  func end(_ reason: String) {}
  func tellWhenHeard() {}
  func replaced(by newer: any DeviceLink) {}
}
