/// Answers the requests that arrive on one loop.
package protocol CoAPHandler: AnyObject, Sendable {
  /// Called on the session's loop for each request once: retransmissions are answered from memory, bodies in blocks
  /// are put together first. Nil defers the answer to `CoAPSession.respond(_:to:)`.
  func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse?
  /// Called for each request, retransmitted or not, before it is answered.
  func heard(from session: CoAPSession)
  /// A peer has proved who it is, over DTLS or TLS.
  func sessionBegan(_ session: CoAPSession)
  func sessionEnded(_ session: CoAPSession)
}
