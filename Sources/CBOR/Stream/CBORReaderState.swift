/// The position of a reader in a message. The bytes are passed with every call.
///
/// Keeping the bytes out lets one implementation serve both the reader that owns an array and
/// the one that borrows a buffer. A call that throws leaves the state as it was, so that calling
/// again throws the same error.
struct CBORReaderState: Sendable {
  /// An open array or map.
  private struct Frame {
    /// The items still to come, -1 if the length is indefinite; a map's pair counts as two.
    var remaining: Int
    /// The nesting level of its items, including this container.
    var depth: Int
    var isMap: Bool
    var expectsKey = true
  }

  let limits: CBORLimits
  /// The first byte that has not been read.
  private(set) var offset = 0
  /// Where the last token began.
  private(set) var tokenOffset = 0
  private var items = 0
  /// The nesting level of the next item: open containers and tags, including tags just read.
  private var depth = 0
  private var open: [Frame] = []
  /// Whether the top-level item has begun.
  private var hasBegun = false

  init(limits: CBORLimits) {
    self.limits = limits
  }

  private var hasPendingTag: Bool { depth != (open.last?.depth ?? 0) }

  /// Reads the next token; with `keepsStrings` off, strings are checked but returned empty.
  mutating func next(
    in bytes: UnsafeRawBufferPointer, keepsStrings: Bool = true
  ) throws(CBORError) -> CBORToken? {
    if let frame = open.last {
      if frame.remaining == 0 { return close(at: offset) }
    } else if hasBegun {
      return nil
    }
    let head = try CBORHead(at: offset, in: bytes)
    if head.kind == .breakMark {
      try checkBreak()
      defer { offset = head.end }
      return close(at: offset)
    }
    guard items < limits.maxItems else { throw CBORError(.itemsExceeded, at: offset) }

    let token: CBORToken
    switch head.kind {
    case .unsigned: token = .unsigned(head.value)
    case .negative: token = .negative(head.value)
    case .text:
      let content = try string(head, .textString, headAt: offset, in: bytes)
      token = .text(try text(content, in: bytes, keep: keepsStrings))
    case .bytes:
      let content = try string(head, .byteString, headAt: offset, in: bytes)
      token = .bytes(keepsStrings ? Array(bytes[content]) : [])
    case .textStart, .bytesStart:
      return try joinedString(head, in: bytes, keep: keepsStrings)
    case .array, .map, .indefiniteArray, .indefiniteMap:
      return try begin(head, in: bytes)
    case .tag:
      guard depth < limits.maxDepth else { throw CBORError(.depthExceeded, .tag, at: offset) }
      tokenOffset = offset
      items += 1
      depth += 1
      offset = head.end
      return .tag(head.value)
    case .half: token = .float(Double(bitPattern: head.value), .half)
    case .single: token = .float(Double(bitPattern: head.value), .single)
    case .double: token = .float(Double(bitPattern: head.value), .double)
    case .bool: token = .bool(head.value != 0)
    case .null: token = .null
    case .undefined: token = .undefined
    case .simple: token = .simple(UInt8(truncatingIfNeeded: head.value))
    case .none, .breakMark: throw CBORError(.malformed, at: offset)
    }
    completeItem(endingAt: head.end)
    return token
  }

  /// Reads past one whole item with everything in it; nil if no item comes next.
  mutating func skip(in bytes: UnsafeRawBufferPointer) throws(CBORError) -> Range<Int>? {
    guard hasNextItem(in: bytes) else { return nil }
    let start = offset
    let level = open.count
    repeat {
      _ = try next(in: bytes, keepsStrings: false)
    } while open.count > level || hasPendingTag
    return start..<offset
  }

  /// Reads what is left of the top-level item and checks that nothing follows it.
  mutating func finish(in bytes: UnsafeRawBufferPointer) throws(CBORError) {
    while try next(in: bytes, keepsStrings: false) != nil {}
    guard offset == bytes.count else { throw CBORError(.trailingBytes, at: offset) }
  }

  private func hasNextItem(in bytes: UnsafeRawBufferPointer) -> Bool {
    guard let frame = open.last else { return !hasBegun }
    guard frame.remaining < 0, !hasPendingTag else { return frame.remaining != 0 }
    return offset >= bytes.count || bytes[offset] != 0xFF
  }
}

extension CBORReaderState {
  /// Counts an item that takes one place in the container around it.
  @inline(__always)
  private mutating func completeItem(endingAt end: Int) {
    tokenOffset = offset
    offset = end
    items += 1
    guard let last = open.indices.last else {
      hasBegun = true
      depth = 0
      return
    }
    if open[last].remaining > 0 { open[last].remaining -= 1 }
    open[last].expectsKey.toggle()
    depth = open[last].depth
  }

  private mutating func begin(
    _ head: CBORHead, in bytes: UnsafeRawBufferPointer
  ) throws(CBORError) -> CBORToken {
    let isMap = head.kind == .map || head.kind == .indefiniteMap
    let item = isMap ? CBORError.Item.map : .array
    guard depth < limits.maxDepth else { throw CBORError(.depthExceeded, item, at: offset) }
    var count: Int?
    if head.kind == .array || head.kind == .map {
      // Every item takes at least one byte, so a message with a larger count is truncated.
      let possible = isMap ? (bytes.count - head.end) / 2 : bytes.count - head.end
      guard let declared = Int(exactly: head.value), declared <= possible else {
        throw CBORError(.truncated, item, at: offset)
      }
      count = declared
    }
    let remaining = count.map { isMap ? $0 * 2 : $0 } ?? -1
    guard remaining < limits.maxItems - items else {
      throw CBORError(.itemsExceeded, at: offset)
    }
    let inner = depth + 1
    completeItem(endingAt: head.end)
    // Enough for usual messages, which then need one allocation.
    if open.isEmpty { open.reserveCapacity(4) }
    open.append(Frame(remaining: remaining, depth: inner, isMap: isMap))
    depth = inner
    return isMap ? .beginMap(count: count) : .beginArray(count: count)
  }

  private mutating func close(at start: Int) -> CBORToken {
    tokenOffset = start
    open.removeLast()
    depth = open.last?.depth ?? 0
    return .end
  }

  private func checkBreak() throws(CBORError) {
    guard let frame = open.last, frame.remaining < 0, !hasPendingTag else {
      throw CBORError(.unexpectedBreak, at: offset)
    }
    guard !frame.isMap || frame.expectsKey else { throw CBORError(.missingValue, at: offset) }
  }
}

extension CBORReaderState {
  /// The range of a definite-length string's content. Its length is checked.
  @inline(__always)
  private func string(
    _ head: CBORHead, _ item: CBORError.Item, headAt start: Int, in bytes: UnsafeRawBufferPointer,
    limit: Int? = nil
  ) throws(CBORError) -> Range<Int> {
    guard head.value <= UInt64(limit ?? limits.maxStringBytes) else {
      throw CBORError(.stringTooLong, item, at: start)
    }
    let length = Int(truncatingIfNeeded: head.value)
    guard head.end <= bytes.count, length < head.end - start else {
      throw CBORError(.truncated, item, at: start)
    }
    return (head.end - length)..<head.end
  }

  private func text(
    _ place: Range<Int>, in bytes: UnsafeRawBufferPointer, keep: Bool
  ) throws(CBORError) -> String {
    let content = UnsafeRawBufferPointer(rebasing: bytes[place]).assumingMemoryBound(to: UInt8.self)
    do {
      let checked = try UTF8Span(validating: content.span)
      return keep ? String(copying: checked) : ""
    } catch {
      throw CBORError(
        .invalidUTF8, .textString, at: place.lowerBound + error.byteOffsets.lowerBound)
    }
  }

  /// Reads an indefinite-length string: definite-length chunks of its own type up to a break.
  private mutating func joinedString(
    _ head: CBORHead, in bytes: UnsafeRawBufferPointer, keep: Bool
  ) throws(CBORError) -> CBORToken {
    let isText = head.kind == .textStart
    let item = isText ? CBORError.Item.textString : .byteString
    var joinedText = ""
    var joinedBytes: [UInt8] = []
    var position = head.end
    var chunks = 0
    var room = limits.maxStringBytes
    while true {
      let chunk = try CBORHead(at: position, in: bytes)
      if chunk.kind == .breakMark {
        position = chunk.end
        break
      }
      guard chunk.kind == (isText ? .text : .bytes) else {
        throw CBORError(.invalidChunk, item, at: position)
      }
      chunks += 1
      guard chunks < limits.maxItems - items else {
        throw CBORError(.itemsExceeded, at: position)
      }
      let place = try string(chunk, item, headAt: position, in: bytes, limit: room)
      room -= place.count
      if isText {
        joinedText += try text(place, in: bytes, keep: keep)
      } else if keep {
        joinedBytes += bytes[place]
      }
      position = chunk.end
    }
    completeItem(endingAt: position)
    items += chunks
    return isText ? .text(joinedText) : .bytes(joinedBytes)
  }
}
