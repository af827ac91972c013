/// The encoded width of a floating-point number (RFC 8949, section 3.3).
public enum CBORFloatWidth: Sendable, Hashable {
  /// 16 bits.
  case half
  /// 32 bits.
  case single
  /// 64 bits.
  case double
}

/// One step of reading a message: a whole scalar, or the beginning or end of a container.
public enum CBORToken: Sendable, Hashable {
  /// A whole number from 0 to 2^64 - 1.
  case unsigned(UInt64)
  /// A whole number below zero, as n where the value is -1 - n; it reaches down to -2^64.
  case negative(UInt64)
  /// A byte string; the chunks of an indefinite-length one are joined.
  case bytes([UInt8])
  /// A text string; the chunks of an indefinite-length one are joined.
  case text(String)
  /// The beginning of an array of `count` items, nil if the length is indefinite.
  ///
  /// The count is never larger than the number of bytes that follow.
  case beginArray(count: Int?)
  /// The beginning of a map of `count` pairs of key and value, nil if the length is indefinite.
  ///
  /// The count is never larger than half the number of bytes that follow.
  case beginMap(count: Int?)
  /// The end of the innermost array or map, of definite or indefinite length.
  case end
  /// A tag on the item that follows.
  case tag(UInt64)
  /// A floating-point number with its encoded width.
  ///
  /// libcbor drops the payload of a half-precision NaN.
  case float(Double, CBORFloatWidth)
  /// True or false.
  case bool(Bool)
  /// Null.
  case null
  /// Undefined.
  case undefined
  /// A simple value without a meaning of its own: 0 to 19 or 32 to 255 (RFC 8949, section 3.3).
  case simple(UInt8)
}
