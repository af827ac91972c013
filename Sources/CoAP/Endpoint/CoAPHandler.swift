/// Answers the requests that arrive on one loop.
package protocol CoAPHandler: AnyObject, Sendable {
  /// The paths of its resources, without a leading slash: a request with a method that nobody knows gets 4.05 there over all
  /// transports (RFC 7252 §5.8), and libcoap answers it.
  var paths: [String] { get }
  /// Called on the session's loop for each request once: retransmissions are answered from memory, bodies in blocks
  /// are put together first. Nil defers the answer to `CoAPSession.respond(_:to:)`.
  func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse?
  /// Whether `respond` is to see a request whose sender has used up what it may ask; it finds `isOverRate` set then, and
  /// refuses with `CoAPSession.tooManyRequests()` what it does not want. All others are refused so at once.
  func mayExceedRate(_ request: CoAPRequest) -> Bool
  /// A request is answered with 4.29 because of its sender's rate; `isFirst` of its session.
  func refusedForRate(_ session: CoAPSession, isFirst: Bool)
  /// Called for each request, retransmitted or not, before it is answered.
  func heard(from session: CoAPSession)
  /// A peer has proved who it is, over DTLS or TLS.
  func sessionBegan(_ session: CoAPSession)
  func sessionEnded(_ session: CoAPSession)
  /// A response did not fit a message to the peer, which has set the size itself, and was sent without what did not.
  func responseWasCut(_ code: CoAPCode, on session: CoAPSession)
}

extension CoAPHandler {
  package var paths: [String] { [] }
  package func responseWasCut(_ code: CoAPCode, on session: CoAPSession) {}
  package func mayExceedRate(_ request: CoAPRequest) -> Bool { false }
  package func refusedForRate(_ session: CoAPSession, isFirst: Bool) {}
}
