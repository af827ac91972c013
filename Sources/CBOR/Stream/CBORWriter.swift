internal import CLibcbor

/// Writes CBOR items one after the other through libcbor's encoding functions.
///
/// Integers, lengths, counts and tags take their shortest form; floating-point numbers take the
/// width of the called function. The writer does not check that counts are correct and that
/// everything begun is ended. The caller is responsible for that.
public struct CBORWriter: Sendable {
  /// What has been written.
  public private(set) var bytes: [UInt8] = []

  /// Creates a writer with room for `capacity` bytes before it has to allocate again.
  public init(capacity: Int = 0) {
    reserveCapacity(capacity)
  }

  /// Makes room for `capacity` bytes in all.
  public mutating func reserveCapacity(_ capacity: Int) {
    if capacity > 0 { bytes.reserveCapacity(capacity) }
  }

  /// Forgets what has been written and keeps the memory for the next message.
  public mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
  }

  /// Appends the head that `encode` writes into nine bytes, the longest a head can be.
  @inline(__always)
  private mutating func append(_ encode: (UnsafeMutablePointer<UInt8>, Int) -> Int) {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 9) { head in
      guard let base = head.baseAddress else { return }
      let count = encode(base, head.count)
      bytes.append(contentsOf: UnsafeBufferPointer(start: base, count: count))
    }
  }

  /// Writes a whole number from 0 to 2^64 - 1 (`cbor_encode_uint`).
  public mutating func appendUnsigned(_ value: UInt64) {
    append { cbor_encode_uint(value, $0, $1) }
  }

  /// Writes the whole number -1 - `value`, down to -2^64 (`cbor_encode_negint`).
  public mutating func appendNegative(_ value: UInt64) {
    append { cbor_encode_negint(value, $0, $1) }
  }

  /// Writes a whole number of either sign.
  public mutating func appendInteger(_ value: Int64) {
    if value < 0 {
      // In two's complement the inverted bits of a value are -1 minus the value.
      appendNegative(UInt64(bitPattern: ~value))
    } else {
      appendUnsigned(UInt64(bitPattern: value))
    }
  }

  /// Writes a number of 16 bits, rounded to the nearest that can be represented.
  ///
  /// `cbor_encode_half` is not used because libcbor 0.8 drops bits of subnormal numbers and writes
  /// wrong values for numbers that are too large.
  public mutating func appendHalf(_ value: Double) {
    let pattern = Float16(value).bitPattern
    bytes.append(0xF9)
    bytes.append(UInt8(truncatingIfNeeded: pattern >> 8))
    bytes.append(UInt8(truncatingIfNeeded: pattern))
  }

  /// Writes a number of 32 bits (`cbor_encode_single`).
  public mutating func appendSingle(_ value: Float) {
    append { cbor_encode_single(value, $0, $1) }
  }

  /// Writes a number of 64 bits (`cbor_encode_double`).
  public mutating func appendDouble(_ value: Double) {
    append { cbor_encode_double(value, $0, $1) }
  }

  /// Writes true or false (`cbor_encode_bool`).
  public mutating func appendBool(_ value: Bool) {
    append { cbor_encode_bool(value, $0, $1) }
  }

  /// Writes null (`cbor_encode_null`).
  public mutating func appendNull() {
    append { cbor_encode_null($0, $1) }
  }

  /// Writes undefined (`cbor_encode_undef`).
  public mutating func appendUndefined() {
    append { cbor_encode_undef($0, $1) }
  }

  /// Writes a simple value and returns true (`cbor_encode_ctrl`).
  ///
  /// The values 24 to 31 have no encoding (RFC 8949, section 3.3); for them nothing is written
  /// and false is returned. The values 20 to 23 are false, true, null and undefined.
  @discardableResult
  public mutating func appendSimple(_ value: UInt8) -> Bool {
    guard !(24...31).contains(value) else { return false }
    append { cbor_encode_ctrl(value, $0, $1) }
    return true
  }

  /// Writes a text string (`cbor_encode_string_start`).
  public mutating func appendText(_ value: String) {
    var value = value
    value.withUTF8 { content in
      append { cbor_encode_string_start(content.count, $0, $1) }
      bytes.append(contentsOf: content)
    }
  }

  /// Writes a byte string (`cbor_encode_bytestring_start`).
  public mutating func appendBytes(_ value: some Collection<UInt8>) {
    let count = value.count
    append { cbor_encode_bytestring_start(count, $0, $1) }
    bytes.append(contentsOf: value)
  }

  /// Begins a byte string of chunks, ended by ``appendBreak()``
  /// (`cbor_encode_indef_bytestring_start`).
  public mutating func beginIndefiniteBytes() {
    append { cbor_encode_indef_bytestring_start($0, $1) }
  }

  /// Begins a text string of chunks, ended by ``appendBreak()``
  /// (`cbor_encode_indef_string_start`).
  public mutating func beginIndefiniteText() {
    append { cbor_encode_indef_string_start($0, $1) }
  }

  /// Begins an array of `count` items, or with nil one that ``appendBreak()`` ends
  /// (`cbor_encode_array_start`, `cbor_encode_indef_array_start`).
  ///
  /// A negative count is taken as zero.
  public mutating func beginArray(count: Int?) {
    if let count {
      append { cbor_encode_array_start(max(count, 0), $0, $1) }
    } else {
      append { cbor_encode_indef_array_start($0, $1) }
    }
  }

  /// Begins a map of `count` pairs, or with nil one that ``appendBreak()`` ends
  /// (`cbor_encode_map_start`, `cbor_encode_indef_map_start`).
  ///
  /// A negative count is taken as zero.
  public mutating func beginMap(count: Int?) {
    if let count {
      append { cbor_encode_map_start(max(count, 0), $0, $1) }
    } else {
      append { cbor_encode_indef_map_start($0, $1) }
    }
  }

  /// Ends the innermost item of indefinite length (`cbor_encode_break`).
  public mutating func appendBreak() {
    append { cbor_encode_break($0, $1) }
  }

  /// Writes a tag on the item that follows (`cbor_encode_tag`).
  public mutating func appendTag(_ value: UInt64) {
    append { cbor_encode_tag(value, $0, $1) }
  }

  /// Writes an item that is encoded already, as it is.
  public mutating func appendEncoded(_ item: some Collection<UInt8>) {
    bytes.append(contentsOf: item)
  }
}
