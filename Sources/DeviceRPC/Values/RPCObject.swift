// Values: parameters and results of calls, and their conversion to and from Swift's `Codable` types.
// Pure; every other room may use it.

internal import OrderedCollections

/// Named values, in the order in which they were written.
///
/// The order is kept so that people see what the device sent. It does not take part in equality (RFC 8259 section 4: objects
/// are unordered). Looking up a member takes constant time. Names are equal under Unicode canonical equivalence, as Swift's
/// strings are.
public struct RPCObject: Sendable {
  /// An ordered dictionary, since lookups stay fast in a map of 50,000 keys from a device.
  private var members: OrderedDictionary<String, RPCValue>

  /// An object without members.
  public init() { members = [:] }

  /// An object with these members; the last one of the same name is used.
  public init(_ elements: some Sequence<(String, RPCValue)>) { self.init(Array(elements)) }

  /// The same. Not generic, since the generic one costs four times as much where the compiler cannot see this module.
  public init(_ elements: [(String, RPCValue)]) {
    members = OrderedDictionary(minimumCapacity: elements.count)
    for (name, value) in elements { members[name] = value }
  }

  /// The number of members.
  public var count: Int { members.count }

  /// Whether there are no members.
  public var isEmpty: Bool { members.isEmpty }

  /// The names in order.
  public var keys: [String] { Array(members.keys) }

  /// The member of this name; nil when there is none. Assigning nil removes it.
  ///
  /// Removing takes time in proportion to ``count``.
  public subscript(key: String) -> RPCValue? {
    get { members[key] }
    set { members[key] = newValue }
  }

  /// Sets a member and returns the value that it replaces, if any; a replaced member keeps its position.
  @discardableResult
  public mutating func updateValue(_ value: RPCValue, forKey key: String) -> RPCValue? {
    members.updateValue(value, forKey: key)
  }
}

extension RPCObject: Sequence {
  /// A name and its value.
  public typealias Element = (key: String, value: RPCValue)

  /// Iterates over the members in order.
  public struct Iterator: IteratorProtocol {
    fileprivate var base: OrderedDictionary<String, RPCValue>.Iterator

    /// The next member, or nil after the last.
    public mutating func next() -> Element? { base.next() }
  }

  /// An iterator over the members in order.
  public func makeIterator() -> Iterator { Iterator(base: members.makeIterator()) }

  /// The number of members, exactly.
  public var underestimatedCount: Int { count }
}

extension RPCObject: Hashable {
  /// Whether both have the same members, in any order.
  public static func == (left: RPCObject, right: RPCObject) -> Bool {
    guard left.count == right.count else { return false }
    return left.members.allSatisfy { right.members[$0.key] == $0.value }
  }

  /// Hashes the members without regard to their order.
  public func hash(into hasher: inout Hasher) {
    var combined = 0
    for (key, value) in members {
      var member = hasher
      member.combine(key)
      member.combine(value)
      combined ^= member.finalize()
    }
    hasher.combine(combined)
  }
}

extension RPCObject: ExpressibleByDictionaryLiteral {
  /// A literal such as `["value": 1337]`; the last member of the same name is used.
  public init(dictionaryLiteral elements: (String, RPCValue)...) { self.init(elements) }
}

extension RPCObject: CustomStringConvertible {
  /// Compact JSON, for logs, as ``RPCValue/description`` writes it.
  public var description: String { RPCValue.object(self).description }
}
