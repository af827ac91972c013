// Client: how commands ask a server over HTTP, and follow its events.
// For all commands that have --server; it depends on none of them, and uses the room Terminal.

/// Reads Server-Sent Events from bytes, in whatever pieces they come (HTML Standard §9.2.6).
struct EventStreamParser {
  struct Event: Equatable {
    /// `message` where the stream gives none.
    let name: String
    let data: String
    /// The id of this event, or of the last one before it that had one; empty for none.
    let id: String
  }

  /// A line or the data of an event are longer than they may be. Nothing more can be read from the stream.
  struct TooLong: Error {}

  /// The bytes of the longest line, and of the longest data of an event: 16 MiB.
  static let longest = 16 << 20

  private let limit: Int
  private var line: [UInt8] = []
  private var isFirstLine = true
  private var isAfterReturn = false
  private var name = ""
  private var data = ""
  private var id: String
  /// What to resume from; empty for nothing. A block with an id and without data changes it, too.
  private(set) var lastEventID: String
  /// The time after which to connect again, if the stream has said it.
  private(set) var retry: Duration?

  /// - Parameter lastEventID: that of the connection before: an event without an id must not make it be forgotten.
  init(lastEventID: String = "", limit: Int = Self.longest) {
    self.lastEventID = lastEventID
    id = lastEventID
    self.limit = limit
  }

  mutating func add(_ bytes: some Sequence<UInt8>, _ emit: (Event) -> Void) throws(TooLong) {
    for byte in bytes {
      // A line ends with its carriage return: the line feed behind it may come much later.
      defer { isAfterReturn = byte == UInt8(ascii: "\r") }
      switch byte {
      case UInt8(ascii: "\n") where isAfterReturn: break
      case UInt8(ascii: "\r"), UInt8(ascii: "\n"): try endLine(emit)
      default:
        guard line.count < limit else { throw TooLong() }
        line.append(byte)
      }
    }
  }

  private mutating func endLine(_ emit: (Event) -> Void) throws(TooLong) {
    var bytes = line[...]
    // A byte order mark may stand before the first line.
    if isFirstLine, bytes.starts(with: [0xef, 0xbb, 0xbf]) { bytes = bytes.dropFirst(3) }
    isFirstLine = false
    if bytes.isEmpty {
      dispatch(emit)
    } else {
      let colon = bytes.firstIndex(of: UInt8(ascii: ":")) ?? bytes.endIndex
      var value = bytes[colon...].dropFirst()
      if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
      try take(String(decoding: bytes[..<colon], as: UTF8.self), value)
    }
    line.removeAll(keepingCapacity: line.capacity <= 1 << 16)
  }

  /// A comment is a field without a name, and like every unknown field it is ignored.
  private mutating func take(_ field: String, _ value: ArraySlice<UInt8>) throws(TooLong) {
    switch field {
    case "data":
      guard data.utf8.count + value.count <= limit else { throw TooLong() }
      data += String(decoding: value, as: UTF8.self) + "\n"
    case "event": name = String(decoding: value, as: UTF8.self)
    case "id" where !value.contains(0): id = String(decoding: value, as: UTF8.self)
    case "retry" where !value.isEmpty && value.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }:
      if let milliseconds = Int32(String(decoding: value, as: UTF8.self)) { retry = .milliseconds(milliseconds) }
    default: break
    }
  }

  private mutating func dispatch(_ emit: (Event) -> Void) {
    lastEventID = id
    if !data.isEmpty {
      emit(Event(name: name.isEmpty ? "message" : name, data: String(data.dropLast()), id: id))
    }
    data = ""
    name = ""
  }
}
