// Loop: the thread of one event loop, its timers, and libcoap's process-wide state. All other rooms build on it; outside of
// the module it is the executor of DeviceRPC's loops.

internal import CLibcoap
internal import Glibc
internal import Logging
internal import Synchronization

/// libcoap's process-wide state.
enum CoAPLibrary {
  /// Starts libcoap once, sends its log lines to `swift-log` and provides its random numbers, a page at a time.
  static func start() { _ = started }

  private static let started: Void = {
    keep_tls_at_exit()
    coap_startup()
    // libcoap reports the reason for a failed handshake in warnings only.
    set_log_levels()
    coap_set_log_handler(onLog)
    coap_set_prng(onRandom)
  }()

  fileprivate static let log = Logger(label: "device-rpc.libcoap")
  fileprivate static let random = Mutex(RandomPage())
  // The last warnings of each thread about handshakes and connections. A failed one has up to four.
  fileprivate static let warnings = Mutex<[pthread_t: [String]]>([:])
  fileprivate static let warningsKept = 32

  /// Removes and returns libcoap's warnings on this thread about `peer`: `certificate has expired: 'a' depth=0`.
  static func takeWarnings(about peer: CoAPAddress) -> [String] {
    let lines = warnings.withLock { warnings -> [String] in
      guard let all = warnings.removeValue(forKey: pthread_self()) else { return [] }
      let others = all.filter { !$0.contains("<-> \(peer) ") }
      if !others.isEmpty { warnings[pthread_self()] = others }
      return others.count == all.count ? [] : all.filter { $0.contains("<-> \(peer) ") }
    }
    return lines.compactMap { line in
      // "*  127.0.0.1:5684 <-> 127.0.0.1:40213 DTLS: what it is about"
      guard let start = line.firstRange(of: "<-> \(peer) "), let colon = line[start.upperBound...].firstRange(of: ": ")
      else { return nil }
      return String(line[colon.upperBound...].trimmingPrefix { $0 == " " })
    }
  }
}

/// Random bytes from the kernel, 4 KiB at a time: libcoap requests one byte per message, which would be a system call each.
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

// Logged at debug level, because libcoap logs even a Reset as an alert.
private func onLog(level: coap_log_t, message: UnsafePointer<CChar>?) {
  guard let message else { return }
  let text = String(cString: message)
  let line = text.last?.isNewline == true ? String(text.dropLast()) : text
  // Lines with three asterisks are about sessions that libcoap releases, and not about refused handshakes.
  if is_warning(level), line.contains("<-> "), !line.hasPrefix("***") {
    CoAPLibrary.warnings.withLock { warnings in
      warnings[pthread_self(), default: []].append(line)
      if warnings[pthread_self(), default: []].count > CoAPLibrary.warningsKept {
        warnings[pthread_self()]?.removeFirst()
      }
    }
  }
  CoAPLibrary.log.debug("\(line)")
}

extension CoAPFailure {
  /// Nil for a reason that does not end the message: after an ICMP error libcoap tries again.
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
