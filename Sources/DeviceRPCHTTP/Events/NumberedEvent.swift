internal import DeviceRPC
internal import FoundationEssentials
internal import NIOCore
internal import Synchronization

/// An event with its number. It becomes text when the first reader needs it, and once for all readers.
final class NumberedEvent: Sendable {
  enum Content: Sendable, Hashable {
    case event(DeviceEvent)
    /// The server was too busy to note so many events.
    case lost(Int)
  }

  private enum Form {
    case content(Content)
    case text(ByteBuffer)
  }

  let number: Int
  /// The device that it is about; nil when that is not known, or none.
  let device: String?
  /// Whether everybody gets it, whatever devices they follow.
  let isForAll: Bool
  /// About the memory that it takes.
  let bytes: Int
  private let time: Date
  private let form: Mutex<Form>

  init(_ content: Content, number: Int, time: Date) {
    self.number = number
    self.time = time
    switch content {
    case .event(let event):
      device = event.deviceName
      isForAll = false
      bytes = event.approximateBytes
    case .lost:
      device = nil
      isForAll = true
      bytes = 256
    }
    form = Mutex(.content(content))
  }

  /// The event as it is sent, with an id that begins with `origin`.
  func text(origin: String) -> ByteBuffer {
    form.withLock { form in
      switch form {
      case .text(let text): return text
      case .content(let content):
        let text = EventText.event(
          id: EventText.id(origin, number), name: EventDocument.name(of: content), data: EventDocument.value(of: content, at: time))
        form = .text(text)
        return text
      }
    }
  }
}

extension DeviceEvent {
  /// The device that the event is about; nil when that is not known.
  var deviceName: String? {
    switch self {
    case .online(let device), .offline(let device, _), .quiet(let device), .heardAgain(let device): device.name
    case .callQueued(let call), .callSent(let call), .callAcknowledged(let call), .callEnded(let call): call.device
    case .unreadableResult(_, let device, _), .forbiddenResult(_, let device), .strayResult(_, let device, _): device
    }
  }

  fileprivate var approximateBytes: Int {
    switch self {
    case .online(let device), .offline(let device, _), .quiet(let device), .heardAgain(let device):
      768 + device.name.utf8.count + device.evidence.utf8.count
    case .unreadableResult(_, _, let reason): 512 + reason.utf8.count
    case .forbiddenResult, .strayResult: 512
    case .callQueued(let call), .callSent(let call), .callAcknowledged(let call), .callEnded(let call): call.approximateBytes
    }
  }
}
