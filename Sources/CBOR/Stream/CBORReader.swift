/// A pull reader for one CBOR message, built on libcbor's streaming decoder.
///
/// ```swift
/// var reader = CBORReader(message)
/// while let token = try reader.next() { … }
/// try reader.finish()
/// ```
///
/// The reader checks that the message is well-formed (RFC 8949, section 3 and appendix C), that
/// text is UTF-8 and that ``CBORLimits`` hold. It does not look for duplicate map keys. A call that
/// throws a ``CBORError`` leaves the reader in place, so that calling again throws the same error.
public struct CBORReader: Sendable {
  private let bytes: [UInt8]
  private var state: CBORReaderState

  /// Creates a reader at the first byte of `bytes`.
  public init(_ bytes: some Collection<UInt8>, limits: CBORLimits = .default) {
    self.bytes = Array(bytes)
    self.state = CBORReaderState(limits: limits)
  }

  /// The first byte that has not been read, counted from zero.
  public var offset: Int { state.offset }

  /// The byte at which the last token began, to name it in an error.
  public var tokenOffset: Int { state.tokenOffset }

  /// Reads the next token; nil once the top-level item is complete.
  ///
  /// Bytes after the top-level item are not read; see ``finish()``.
  public mutating func next() throws(CBORError) -> CBORToken? {
    try withBytes { (state, bytes) throws(CBORError) in try state.next(in: bytes) }
  }

  /// Reads past one whole item with its tags and content, and returns the bytes it takes.
  ///
  /// What is skipped is checked as usual, but its strings are not copied. Returns nil, and stays in
  /// place, if the container or the message has no further item.
  @discardableResult
  public mutating func skip() throws(CBORError) -> Range<Int>? {
    try withBytes { (state, bytes) throws(CBORError) in try state.skip(in: bytes) }
  }

  /// Checks what is left of the top-level item, and that no byte follows it.
  public mutating func finish() throws(CBORError) {
    try withBytes { (state, bytes) throws(CBORError) in try state.finish(in: bytes) }
  }

  @inline(__always)
  private mutating func withBytes<Result>(
    _ body: (inout CBORReaderState, UnsafeRawBufferPointer) throws(CBORError) -> Result
  ) throws(CBORError) -> Result {
    // The bytes are borrowed from a second reference, so that the state can be changed meanwhile.
    let bytes = bytes
    return try bytes.span.bytes.withUnsafeBytes { (bytes) throws(CBORError) in
      try body(&state, bytes)
    }
  }
}

/// A ``CBORReader`` that borrows its bytes instead of owning them.
///
/// It must not outlive the buffer: use it inside the callback that lends the buffer.
package struct CBORBufferReader {
  private let bytes: UnsafeRawBufferPointer
  private var state: CBORReaderState

  /// Creates a reader at the first byte of `bytes`.
  package init(_ bytes: UnsafeRawBufferPointer, limits: CBORLimits = .default) {
    self.bytes = bytes
    self.state = CBORReaderState(limits: limits)
  }

  /// See ``CBORReader/offset``.
  package var offset: Int { state.offset }

  /// See ``CBORReader/tokenOffset``.
  package var tokenOffset: Int { state.tokenOffset }

  /// See ``CBORReader/next()``.
  package mutating func next() throws(CBORError) -> CBORToken? {
    try state.next(in: bytes)
  }

  /// See ``CBORReader/skip()``.
  @discardableResult
  package mutating func skip() throws(CBORError) -> Range<Int>? {
    try state.skip(in: bytes)
  }

  /// See ``CBORReader/finish()``.
  package mutating func finish() throws(CBORError) {
    try state.finish(in: bytes)
  }
}
