/// A confirmable message of ours that is under way.
enum SentMessage {
  case notification(UInt32, CoAPObservation)
  case response(UInt16, CoAPSession)

  var session: CoAPSession {
    switch self {
    case .notification(_, let observation): observation.session
    case .response(_, let session): session
    }
  }

  func acknowledged() {
    switch self {
    case .notification(let number, let observation): observation.acknowledged(number)
    case .response(let messageID, let session): session.settled(messageID)
    }
  }

  /// It is under way no longer, and not known to have arrived.
  func settled() {
    switch self {
    case .notification(let number, let observation): observation.settled(number)
    case .response(let messageID, let session): session.settled(messageID)
    }
  }

  func failed(_ failure: CoAPFailure) {
    switch self {
    case .notification(let number, let observation): observation.failed(number, failure)
    case .response(let messageID, let session): session.settled(messageID)
    }
  }
}
