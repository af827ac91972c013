/// The kind of an outstanding confirmable message of the server, with the object that is called with its outcome.
enum SentMessage {
  case notification(UInt32, CoAPObservation)
  case response(UInt16, CoAPSession)
  case ping(UInt16, CoAPSession)

  func acknowledged() {
    switch self {
    case .notification(let number, let observation): observation.acknowledged(number)
    case .response(let messageID, let session): session.settled(messageID)
    // A ping is answered with a Reset, but a peer that acknowledges it is reachable too.
    case .ping(let messageID, let session): session.pingEnded(messageID, .answered)
    }
  }

  func failed(_ failure: CoAPFailure) {
    switch self {
    case .notification(let number, let observation): observation.failed(number, failure)
    case .response(let messageID, let session): session.settled(messageID)
    case .ping(let messageID, let session): session.pingEnded(messageID, CoAPPingEnd(failure))
    }
  }
}
