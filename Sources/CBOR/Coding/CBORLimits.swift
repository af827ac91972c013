/// The limits beyond which a reader, a decoder or an encoder refuses a message.
///
/// The limits bound the memory and the stack that one message from an untrusted device can take.
public struct CBORLimits: Sendable, Hashable {
  /// The deepest nesting that is accepted, from 1 to 256. The default is 32.
  ///
  /// Every array, map and tag around an item counts one level. Values outside the range are
  /// clamped, because the Codable coders recurse once per level.
  public let maxDepth: Int

  /// The longest byte or text string that is accepted, in bytes. The default is 1 MiB.
  ///
  /// For an indefinite-length string this is the sum of its chunks.
  public let maxStringBytes: Int

  /// The maximum number of items in one message. The default is 65,536.
  ///
  /// Every array, map, map key, value, tag and string chunk counts as one item.
  public let maxItems: Int

  /// Creates limits. Negative values count as zero, and for `maxDepth` as 1.
  public init(maxDepth: Int = 32, maxStringBytes: Int = 1 << 20, maxItems: Int = 65_536) {
    self.maxDepth = min(max(maxDepth, 1), 256)
    self.maxStringBytes = max(maxStringBytes, 0)
    self.maxItems = max(maxItems, 0)
  }

  /// The default limits.
  public static let `default` = CBORLimits()
}
