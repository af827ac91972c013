/// What a reader, a decoder or an encoder puts up with before it refuses a message.
///
/// The limits bound the memory and the stack that one message from an untrusted device can take.
public struct CBORLimits: Sendable, Hashable {
  /// The deepest nesting that is accepted, 32 unless told; 1 to 256.
  ///
  /// Every array, map and tag around an item counts one level. Values outside the range are
  /// clamped, because the Codable coders recurse once per level.
  public let maxDepth: Int

  /// The longest byte or text string that is accepted, in bytes, 1 MiB unless told.
  ///
  /// For an indefinite-length string this is the sum of its chunks.
  public let maxStringBytes: Int

  /// The most items one message may hold, 65,536 unless told.
  ///
  /// Every array, map, map key, value, tag and string chunk counts as one item.
  public let maxItems: Int

  /// Creates limits; negative values count as zero.
  public init(maxDepth: Int = 32, maxStringBytes: Int = 1 << 20, maxItems: Int = 65_536) {
    self.maxDepth = min(max(maxDepth, 1), 256)
    self.maxStringBytes = max(maxStringBytes, 0)
    self.maxItems = max(maxItems, 0)
  }

  /// The limits used unless told otherwise.
  public static let `default` = CBORLimits()
}
