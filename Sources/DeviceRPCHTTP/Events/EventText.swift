internal import DeviceRPC
internal import FoundationEssentials
internal import NIOCore

/// The format of Server-Sent Events (HTML Standard §9.2).
enum EventText {
  /// - Parameters:
  ///   - origin: text that no other process has.
  static func id(_ origin: String, _ number: Int) -> String { "\(origin)-\(number)" }

  /// The number in an id; nil when the id is of another origin, or none at all.
  static func number(in id: String, _ origin: String) -> Int? {
    guard let number = Int(id.dropFirst(origin.count + 1)) else { return nil }
    return Self.id(origin, number).utf8.elementsEqual(id.utf8) ? number : nil
  }

  /// - Parameter id: what a client resumes from when it has this event. Without one it resumes from the event before.
  static func event(id: String?, name: String, data: RPCValue) -> ByteBuffer {
    let json = data.jsonBytes
    var text = ByteBuffer()
    text.reserveCapacity(json.count + 80)
    if let id { text.writeString("id: \(id)\n") }
    text.writeString("event: \(name)\ndata: ")
    // JSON has no line break outside of strings, and escapes those inside.
    text.writeBytes(json)
    text.writeString("\n\n")
    return text
  }

  /// A line that clients ignore.
  ///
  /// - Parameter id: what a client resumes from when it has this: no event, since there are no data, but the id counts.
  static func comment(_ comment: String, id: String? = nil) -> ByteBuffer {
    ByteBuffer(string: ": \(comment)\n" + (id.map { "id: \($0)\n" } ?? "") + "\n")
  }
}

extension EventQueue.Batch {
  /// What is sent to the reader.
  func text(origin: String, at time: Date) -> [ByteBuffer] {
    var parts: [ByteBuffer] = []
    parts.reserveCapacity(events.count + 4)
    if let miss { parts.append(Self.gap(miss.rawValue, dropped: nil, at: time)) }
    for event in events { parts.append(event.text(origin: origin)) }
    // A client that comes back for what was dropped gets it, if it is still remembered.
    if dropped > 0 { parts.append(Self.gap("slow-reader", dropped: dropped, at: time)) }
    if isHeartbeat {
      // Who follows one device gets new ids, too, so that it can resume long after the last event of that device.
      let isNews = position != events.last?.number
      parts.append(EventText.comment("heartbeat", id: isNews ? position.map { EventText.id(origin, $0) } : nil))
    }
    if ending == .denied { parts.append(EventText.comment("the API key is no longer valid")) }
    return parts
  }

  private static func gap(_ reason: String, dropped: Int?, at time: Date) -> ByteBuffer {
    EventText.event(id: nil, name: EventDocument.gap, data: EventDocument.gap(reason, dropped: dropped, at: time))
  }
}
