internal import CLibcoap
internal import Logging
internal import Synchronization

/// What libcoap keeps once for the whole process.
enum CoAPLibrary {
  /// Starts libcoap, sends its log lines to `swift-log` and gives it random numbers by the page.
  static func start() { _ = started }

  private static let started: Void = {
    coap_startup()
    coap_set_log_level(LOG_ERR)
    coap_set_log_handler(onLog)
    coap_set_prng(onRandom)
  }()

  fileprivate static let log = Logger(label: "device-rpc.libcoap")
  fileprivate static let random = Mutex(RandomPage())
}

/// Random bytes from the kernel, 4 KiB at a time: libcoap asks for one byte per message, a system call each.
private struct RandomPage {
  private var bytes = [UInt8](repeating: 0, count: 4_096)
  private var used = 4_096

  mutating func fill(_ target: UnsafeMutableRawBufferPointer) -> Bool {
    for index in target.indices {
      if used == bytes.count {
        guard getrandom(&bytes, bytes.count, 0) == bytes.count else { return false }
        used = 0
      }
      target[index] = bytes[used]
      bytes[used] = 0
      used += 1
    }
    return true
  }
}

private func onRandom(target: UnsafeMutableRawPointer?, count: Int) -> Int32 {
  CoAPLibrary.random.withLock {
    $0.fill(UnsafeMutableRawBufferPointer(start: target, count: count)) ? 1 : 0
  }
}

// libcoap calls a Reset an alert; it is everyday traffic.
private func onLog(level: coap_log_t, message: UnsafePointer<CChar>?) {
  guard let message else { return }
  let text = String(cString: message)
  let line = text.last?.isNewline == true ? String(text.dropLast()) : text
  CoAPLibrary.log.debug("\(line)")
}
