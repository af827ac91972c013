/// Answers the requests that arrive on one loop.
package protocol CoAPHandler: AnyObject, Sendable {
  /// The paths of its resources, without a leading slash. libcoap answers a request to one of them with an unknown method
  /// with 4.05, over all transports (RFC 7252 §5.8).
  var paths: [String] { get }
  /// Called on the session's loop, once for each request. Retransmissions are answered from memory, and bodies in blocks are
  /// assembled first. Nil defers the answer to `CoAPSession.respond(_:to:)`.
  func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse?
  /// Whether `respond` is called for a request that exceeds its sender's rate. `isOverRate` is set in such a request, and the
  /// handler refuses it with `CoAPSession.tooManyRequests()` or answers it. If false, the request is refused at once.
  func mayExceedRate(_ request: CoAPRequest) -> Bool
  /// Called when a request is answered with 4.29 because its sender exceeds its rate; `isFirst` is true for the first one of
  /// a session.
  func refusedForRate(_ session: CoAPSession, isFirst: Bool)
  /// Called for each request, retransmitted or not, before it is answered.
  func heard(from session: CoAPSession)
  /// Called when a peer has been authenticated by a DTLS or TLS handshake.
  func sessionBegan(_ session: CoAPSession)
  func sessionEnded(_ session: CoAPSession)
  /// Called when a response was longer than the message size that the peer has set. It was sent without the parts that did
  /// not fit.
  func responseWasCut(_ code: CoAPCode, on session: CoAPSession)
}

extension CoAPHandler {
  package var paths: [String] { [] }
  package func responseWasCut(_ code: CoAPCode, on session: CoAPSession) {}
  package func mayExceedRate(_ request: CoAPRequest) -> Bool { false }
  package func refusedForRate(_ session: CoAPSession, isFirst: Bool) {}
}
