internal import Crypto
internal import DeviceRPC

/// The calls that were made with an idempotency key: requests with the same key and body get the same call.
///
/// A call that was refused before it was sent anywhere is not remembered: the same key may try again.
actor IdempotencyKeys {
  struct Key: Hashable, Sendable {
    /// The id of the API key: two clients may use the same text.
    let sender: String
    let key: String
  }

  private struct Entry {
    let digest: SHA256Digest
    let created: Duration
    /// The call as it was begun. A task of its own, since the call is made even if the first client goes away.
    let begun: Task<Result<CallInfo, Problem>, Never>
    /// The call when it has ended.
    var ended: CallInfo?
    /// It is found by its id for longer than the key is remembered.
    let isPersistent: Bool
  }

  private let caller: any DeviceCaller
  private let limits: HTTPLimits
  private let now: @Sendable () -> Duration
  private var entries: [Key: Entry] = [:]
  private var counts: [String: Int] = [:]
  private var bytes = 0
  // In the order of their creation.
  private var order: [Key] = []

  init(caller: any DeviceCaller, limits: HTTPLimits, now: @escaping @Sendable () -> Duration) {
    self.caller = caller
    self.limits = limits
    self.now = now
  }

  /// Begins the call, or joins the one of the same key, and returns it when it has ended or `patience` is over.
  func perform(
    _ request: CallRequest, on device: String, as key: Key, body: [UInt8], waiting patience: Duration
  ) async throws(Problem) -> CallInfo {
    var hash = SHA256()
    hash.update(data: Array("\(device.utf8.count):\(device)".utf8))
    hash.update(data: body)
    let digest = hash.finalize()
    forgetOld()
    if let entry = entries[key] {
      guard entry.digest == digest else {
        throw Problem(.idempotencyKeyReused, "The Idempotency-Key \"\(key.key)\" was used for another device or body.")
      }
      return try await join(entry, key, waiting: patience)
    }
    guard counts[key.sender, default: 0] < limits.idempotencyKeys, bytes < limits.idempotencyBytes else {
      throw Problem(
        .limitExceeded, "As many idempotency keys are remembered as this server takes.",
        members: [("delivery", .string(Delivery.notSent.rawValue)), ("safeToRepeat", true)]
      ).retrying(after: 60)
    }
    let begun = Task { [caller] () -> Result<CallInfo, Problem> in
      do throws(Problem) {
        let info = try await CallRoutes.begin(request, on: device, caller, waiting: .zero)
        if request.persistence == nil { Task { await self.note(caller.info(of: info.id, waiting: nil) ?? info, of: key) } }
        return .success(info)
      } catch {
        self.forget(key)
        return .failure(error)
      }
    }
    let entry = Entry(digest: digest, created: now(), begun: begun, isPersistent: request.persistence != nil)
    entries[key] = entry
    order.append(key)
    counts[key.sender, default: 0] += 1
    return try await join(entry, key, waiting: patience)
  }

  private func join(_ entry: Entry, _ key: Key, waiting patience: Duration) async throws(Problem) -> CallInfo {
    let begun = try await entry.begun.value.get()
    if let ended = entries[key]?.ended { return ended }
    let info = await caller.info(of: begun.id, waiting: patience)
    return entries[key]?.ended ?? info ?? begun
  }

  private func note(_ ended: CallInfo, of key: Key) {
    guard entries[key] != nil else { return }
    entries[key]?.ended = ended
    bytes += ended.approximateBytes
  }

  private func forget(_ key: Key) {
    guard let entry = entries.removeValue(forKey: key) else { return }
    if let ended = entry.ended { bytes -= ended.approximateBytes }
    counts[key.sender, default: 1] -= 1
    if counts[key.sender] == 0 { counts[key.sender] = nil }
    if let index = order.firstIndex(of: key) { order.remove(at: index) }
  }

  private func forgetOld() {
    let now = now()
    // An open call keeps its key, if it is not persistent: the client may still be waiting for it.
    let old = order.prefix { entries[$0].map { now - $0.created >= limits.idempotencyTime } ?? true }
    for key in old where entries[key].map({ $0.ended != nil || $0.isPersistent }) ?? false { forget(key) }
  }

  /// How many keys are remembered.
  var count: Int { entries.count }
}
