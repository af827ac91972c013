internal import CLibcoap

/// Reads and writes on DTLS sessions past libcoap: acknowledgements, which libcoap does not report, messages that it would
/// answer wrongly, and confirmable messages, of which it would send one at a time.
final class TLSFeed {
  private var functions = tls_feed()
  private let message = UnsafeMutablePointer<UInt8>.allocate(capacity: AdoptedSocket.largestDatagram)

  init() throws(CoAPSystemError) {
    guard open_tls_feed(&functions) else {
      throw CoAPSystemError("dlsym", code: 0, detail: "OpenSSL has not what reading a record twice needs")
    }
  }

  deinit {
    close_tls_feed(&functions)
    message.deallocate()
  }

  /// The message in a record that libcoap is about to read, valid until the next call. OpenSSL decrypts it now and keeps it
  /// for libcoap. Nil when the record has no message or cannot be decrypted.
  func peek(_ record: UnsafeBufferPointer<UInt8>, on session: OpaquePointer) -> UnsafeBufferPointer<UInt8>? {
    let count = peek_tls(
      &functions, session, record.baseAddress, record.count, message, Int32(AdoptedSocket.largestDatagram))
    return count > 0 ? UnsafeBufferPointer(start: message, count: Int(count)) : nil
  }

  /// Discards the message that was peeked last, so that libcoap does not read it.
  func discardPeeked(on session: OpaquePointer) {
    discard_peeked_tls(&functions, session, message, Int32(AdoptedSocket.largestDatagram))
  }

  func write(_ bytes: [UInt8], on session: OpaquePointer) { write_tls(&functions, session, bytes, bytes.count) }
}
