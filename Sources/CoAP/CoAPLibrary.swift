internal import CLibcoap
internal import Glibc
internal import Logging
internal import Synchronization

/// What libcoap keeps once for the whole process.
enum CoAPLibrary {
  /// Starts libcoap, sends its log lines to `swift-log` and gives it random numbers by the page.
  static func start() { _ = started }

  private static let started: Void = {
    coap_startup()
    // Warnings are the only way in which libcoap tells why a handshake fails.
    coap_set_log_level(LOG_WARNING)
    coap_dtls_set_log_level(Int32(LOG_WARNING))
    coap_set_log_handler(onLog)
    coap_set_prng(onRandom)
  }()

  fileprivate static let log = Logger(label: "device-rpc.libcoap")
  fileprivate static let random = Mutex(RandomPage())
  // The first of each thread since one was asked for: what follows is only a consequence.
  fileprivate static let warnings = Mutex<[pthread_t: String]>([:])

  /// What libcoap has complained about on this thread, if it was about that peer: `certificate has expired`.
  static func takeWarning(about peer: CoAPAddress) -> String? {
    guard let text = warnings.withLock({ $0.removeValue(forKey: pthread_self()) }) else { return nil }
    // "*  127.0.0.1:5684 <-> 127.0.0.1:40213 DTLS: what it is about"
    guard let start = text.firstRange(of: "<-> \(peer) "),
      let colon = text[start.upperBound...].firstRange(of: ": ")
    else { return nil }
    return String(text[colon.upperBound...].trimmingPrefix { $0 == " " })
  }
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
  if level == LOG_WARNING {
    CoAPLibrary.warnings.withLock { warnings in
      if warnings[pthread_self()] == nil { warnings[pthread_self()] = line }
    }
  }
  CoAPLibrary.log.debug("\(line)")
}

extension CoAPFailure {
  /// Nil for a reason that does not end the message: after an ICMP error libcoap goes on trying.
  init?(_ reason: coap_nack_reason_t) {
    switch reason {
    case COAP_NACK_TOO_MANY_RETRIES: self = .notAcknowledged
    case COAP_NACK_RST: self = .reset
    case COAP_NACK_ICMP_ISSUE: return nil
    default: self = .closed
    }
  }
}

extension CoAPTransmission {
  func apply(to session: OpaquePointer?) {
    coap_session_set_ack_timeout(session, Self.fixedPoint(ackTimeout))
    coap_session_set_ack_random_factor(session, Self.fixedPoint(ackRandomFactor))
    coap_session_set_max_retransmit(session, UInt16(clamping: max(1, maxRetransmit)))
  }

  // libcoap ignores what is less than 1 and keeps its default.
  private static func fixedPoint(_ value: Double) -> coap_fixed_point_t {
    let thousandths = Int(clamping: Int64(max(1, min(value, 60_000)) * 1_000))
    return coap_fixed_point_t(
      integer_part: UInt16(clamping: thousandths / 1_000), fractional_part: UInt16(thousandths % 1_000))
  }
}
