/// A confirmable message of ours that is under way.
enum SentMessage {
  case notification(UInt32, CoAPObservation)
  case response(UInt16, CoAPSession)
  case ping(UInt16, CoAPSession)

  func acknowledged() {
    switch self {
    case .notification(let number, let observation): observation.acknowledged(number)
    case .response(let messageID, let session): session.settled(messageID)
    // A Reset is what answers it, but whoever acknowledges it is there too.
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
