internal import Synchronization

/// A source of API keys, for a front door that checks them.
public protocol APIKeyProvider: Sendable {
  /// Returns the key of an id, also an expired one; nil when there is none.
  ///
  /// Called for each request, so it should answer from memory.
  func apiKey(id: String) async -> APIKey?

  /// Whether there are any keys, also expired ones. If not, a server on loopback may answer without a key.
  var hasKeys: Bool { get async }

  /// Returns a stream with an element after each change of one or more keys, so that whatever a revoked key has opened can be
  /// closed. By default the stream ends at once: a provider need not report changes.
  func apiKeyChanges() -> AsyncStream<Void>
}

extension APIKeyProvider {
  public func apiKeyChanges() -> AsyncStream<Void> { AsyncStream { $0.finish() } }
}

/// API keys that are kept in memory.
public final class InMemoryAPIKeys: APIKeyProvider {
  private let keys: Mutex<[String: APIKey]>
  // A buffer of one, since one element is enough for any number of changes that were not handled yet.
  private let hub = Hub<Void>(buffered: 1)

  /// Keys by their ids; the last one of the same id is used.
  public init(_ keys: some Sequence<APIKey> = []) {
    self.keys = Mutex(Dictionary(keys.map { ($0.id, $0) }, uniquingKeysWith: { _, last in last }))
  }

  public func apiKey(id: String) -> APIKey? { keys.withLock { $0[id] } }

  public var hasKeys: Bool { keys.withLock { !$0.isEmpty } }

  /// Adds a key; it replaces the one of the same id.
  public func set(_ key: APIKey) {
    keys.withLock { $0[key.id] = key }
    hub.send(())
  }

  /// Removes a key; does nothing if there is none.
  public func remove(id: String) {
    keys.withLock { $0[id] = nil }
    hub.send(())
  }

  public func apiKeyChanges() -> AsyncStream<Void> { hub.subscribe() }
}
