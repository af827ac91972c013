internal import CLibcoap

/// What is read and written on DTLS sessions past libcoap: acknowledgements, of which it tells nobody, and messages that are
/// to be acknowledged, of which it would keep one at a time.
final class TLSFeed {
  private var functions = tls_feed()

  init() throws(CoAPSystemError) {
    guard open_tls_feed(&functions) else {
      throw CoAPSystemError("dlsym", code: 0, detail: "OpenSSL has not what reading a record twice needs")
    }
  }

  deinit { close_tls_feed(&functions) }

  /// The head of the message in a record that libcoap is about to read: OpenSSL decrypts it now, and hands libcoap the rest.
  /// Nil for what is no message, or does not decrypt.
  func peek(_ record: UnsafeBufferPointer<UInt8>, on session: OpaquePointer) -> (first: UInt8, code: UInt8, mid: UInt16, count: Int)? {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 5) { head in
      let count = Int(peek_tls(&functions, session, record.baseAddress, record.count, head.baseAddress, 5))
      guard count >= 4 else { return nil }
      return (head[0], head[1], UInt16(head[2]) << 8 | UInt16(head[3]), count)
    }
  }

  func write(_ bytes: [UInt8], on session: OpaquePointer) { write_tls(&functions, session, bytes, bytes.count) }
}
