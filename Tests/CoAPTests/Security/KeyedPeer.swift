import CoAP
import Dispatch
import Glibc
import TestSupport

/// A device over DTLS or TLS that plays an exact dialogue: a record out for each message in, and back.
final class KeyedPeer: Sendable {
  struct NothingArrived: Error {}

  private let client: OpenSSLClient
  private let descriptor: Int32
  private let queue = DispatchQueue(label: "keyed-peer")

  init(
    _ protocolOption: String = "-dtls1_2", to server: CoAPAddress, identity: String, key: [UInt8], options: [String] = []
  ) throws {
    client = try OpenSSLClient(protocolOption, port: server.port, identity: identity, key: key, options: options)
    descriptor = client.descriptor
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  func send(_ bytes: [UInt8]) { _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }

  /// The next message, within ten seconds.
  func receive() async throws -> [UInt8] {
    let descriptor = descriptor
    return try await withCheckedThrowingContinuation { continuation in
      queue.async {
        var bytes = [UInt8](repeating: 0, count: 2_048)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        continuation.resume(with: count > 0 ? .success(Array(bytes[0..<count])) : .failure(NothingArrived()))
      }
    }
  }

  /// Observes `counter` with a token of one byte.
  func observe(token: UInt8 = 0x77, messageID: UInt8 = 1) async throws {
    send([0x41, 1, 0, messageID, token, 0x60, 0x57] + Array("counter".utf8))
    guard try await receive().prefix(5) == [0x61, 0x45, 0, messageID, token] else { throw NothingArrived() }
  }

  /// Asks for something; behind its answer all has been read that was sent before.
  func barrier() async throws {
    send([0x41, 1, 0, 2, 0x78])
    while try await receive().prefix(5) != [0x61, 0x45, 0, 2, 0x78] {}
  }
}
