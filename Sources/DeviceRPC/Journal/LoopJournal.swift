internal import FoundationEssentials
internal import Logging

/// The journal as one loop uses it: its open calls, and the changes that the journal has not made yet.
///
/// All changes since the last write are written at once, and one write is under way at a time: the slower the disk, the more
/// changes share a transaction.
// Unchecked, because it is used on its loop only.
final class LoopJournal: @unchecked Sendable {
  /// A change, and what follows from it.
  struct Write {
    let change: CallJournalChange
    /// The journal has told what came of it.
    let done: @Sendable (isolated DeviceLoop, CallJournalOutcome) -> Void
    /// The journal cannot be written to. Nil for a change that is tried again until it can.
    let failed: (@Sendable (isolated DeviceLoop, CallJournalError) -> Void)?
    /// Called when the change could not be made at first.
    var delayed: (@Sendable () -> Void)?
  }

  /// New calls that wait for the journal; beyond that they are refused.
  static let mostWaiting = 10_000
  /// The time until a change that could not be made is tried again.
  static let retryInterval = Duration.seconds(1)

  let journal: any CallJournal
  var calls: PersistentCalls
  // Numbers of this loop that calls of other loops' devices have, which were made when there were more or fewer loops.
  private var foreign: [UInt32: DeviceLoop] = [:]
  // Calls that are over, and that the journal does not have so yet: who waits for them is told when it has.
  var ending: [UInt32: CallInfo] = [:]
  var waiting: [Write] = []
  var isWriting = false
  var isScheduled = false
  // Until then nothing is written, after the journal could not be written to.
  var pausedUntil: Duration?
  var problem: CallJournalError?
  // Until then no calls are taken.
  var isLoaded = false
  // Devices to which a call is to be sent again, after a while.
  var refused: Set<String> = []
  var alarm: (any LoopAlarm)?
  var alarmDeadline: Duration?
  // Whoever waits until everything is written.
  var drainers: [UnsafeContinuation<Void, Never>] = []

  init(_ journal: any CallJournal, pacing: CallPacing) {
    self.journal = journal
    calls = PersistentCalls(pacing: pacing)
  }

  /// A call that is open, or is over and not yet in the journal as that.
  func info(_ serial: UInt32) -> CallInfo? { calls[serial]?.call.info ?? ending[serial] }

  func isTaken(_ serial: UInt32) -> Bool { calls[serial] != nil || foreign[serial] != nil }

  func take(_ serial: UInt32, home: DeviceLoop) { foreign[serial] = home }

  /// The loop of another number that has the call of this id on the wire; nil for nearly all ids.
  func home(ofCall wireID: String) -> DeviceLoop? {
    foreign.isEmpty ? nil : PendingCalls<DeviceState, Never>.serial(in: wireID).flatMap { foreign[$0] }
  }

  func close() {
    foreign = [:]
    alarm?.cancel()
    alarm = nil
  }
}

extension DeviceLoop {
  /// Enters the calls that were open when the last server ended. `taken` are those of them that have a number of this loop, and a
  /// device of another one.
  func load(_ calls: [PersistentCall], taken: [(serial: UInt32, home: DeviceLoop)]) {
    guard let kept, !kept.isLoaded else { return }
    kept.isLoaded = true
    kept.problem = nil
    for call in calls { kept.calls.add(call) }
    for (serial, home) in taken { kept.take(serial, home: home) }
    updateKeptAlarm()
    for name in Set(calls.map(\.device)) { if let record = devices[name] { sendKept(record) } }
  }

  /// Why the open calls are not known yet; nil when they are.
  var loadProblem: CallJournalError? { kept.flatMap { $0.isLoaded ? nil : $0.problem } }

  /// The journal could not be read.
  func noteUnreadable(_ error: CallJournalError) { kept?.problem = error }

  /// Has the journal make a change, in one transaction with all others of this pass of the loop.
  func write(
    _ change: CallJournalChange, failed: (@Sendable (isolated DeviceLoop, CallJournalError) -> Void)? = nil,
    delayed: (@Sendable () -> Void)? = nil, done: @escaping @Sendable (isolated DeviceLoop, CallJournalOutcome) -> Void
  ) {
    guard let kept else { return }
    kept.waiting.append(LoopJournal.Write(change: change, done: done, failed: failed, delayed: delayed))
    guard !kept.isWriting, !kept.isScheduled else { return }
    kept.isScheduled = true
    driver.execute { self.onLoop { $0.writeWaiting() } }
  }

  private func writeWaiting() {
    guard let kept else { return }
    kept.isScheduled = false
    guard !kept.isWriting, !kept.waiting.isEmpty, kept.pausedUntil == nil || isEnding else { return }
    kept.isWriting = true
    let batch = kept.waiting
    kept.waiting = []
    let (journal, changes) = (kept.journal, batch.map(\.change))
    Task {
      let result: Result<[CallJournalOutcome], CallJournalError>
      do throws(CallJournalError) {
        result = .success(try await journal.write(changes))
      } catch {
        result = .failure(error)
      }
      self.written(batch, result)
    }
  }

  private func written(_ batch: [LoopJournal.Write], _ result: Result<[CallJournalOutcome], CallJournalError>) {
    guard let kept else { return }
    kept.isWriting = false
    switch result {
    case .success(let outcomes):
      if kept.problem != nil { log.notice("calls can be kept again") }
      kept.problem = nil
      for (write, outcome) in zip(batch, outcomes) { write.done(self, outcome) }
    case .failure(let error):
      if kept.problem != error { log.error("cannot write to the journal of calls", metadata: ["error": "\(error)"]) }
      kept.problem = error
      for write in batch {
        write.failed?(self, error)
        write.delayed?()
      }
      kept.waiting = batch.filter { $0.failed == nil } + kept.waiting
      kept.pausedUntil = driver.now + LoopJournal.retryInterval
      updateKeptAlarm()
    }
    if result.isSuccess { writeWaiting() }
    if isEnding && !result.isSuccess { giveUpWriting() }
    guard kept.waiting.isEmpty, !kept.isWriting else { return }
    let drainers = kept.drainers
    kept.drainers = []
    for drainer in drainers { drainer.resume() }
  }

  /// The server ends, and what waits to be written is not.
  private func giveUpWriting() {
    guard let kept, !kept.waiting.isEmpty else { return }
    let rest = kept.waiting
    kept.waiting = []
    log.error("the journal of calls does not have what has become of some", metadata: ["changes": "\(rest.count)"])
    for write in rest { write.done(self, .conflict) }
  }

  /// Returns when everything is written, or cannot be.
  func writeRest() async {
    guard let kept, kept.isWriting || !kept.waiting.isEmpty else { return }
    await withUnsafeContinuation {
      kept.drainers.append($0)
      writeWaiting()
    }
  }

  // MARK: Time

  /// Sets the timer for the next call that expires, and for what is tried again.
  func updateKeptAlarm() {
    guard let kept else { return }
    let now = driver.now
    var next = kept.pausedUntil
    if !kept.refused.isEmpty { next = min(next ?? .seconds(Int64.max), now + LoopJournal.retryInterval) }
    if let expiry = kept.calls.nextExpiry() {
      // The wall clock may be set meanwhile.
      let wait = min(max(expiry.timeIntervalSince(driver.date), 0), 60)
      next = min(next ?? now + .seconds(wait), now + .seconds(wait))
    }
    guard next != kept.alarmDeadline else { return }
    kept.alarm = kept.alarm ?? driver.makeAlarm { self.assumeIsolated { $0.lookAtKept() } }
    kept.alarmDeadline = next
    kept.alarm?.set(next)
  }

  private func lookAtKept() {
    guard let kept else { return }
    kept.alarmDeadline = nil
    if let until = kept.pausedUntil, until <= driver.now {
      kept.pausedUntil = nil
      writeWaiting()
    }
    expireKept()
    let refused = kept.refused
    kept.refused = []
    for name in refused { if let record = devices[name] { sendKept(record) } }
    updateKeptAlarm()
  }
}

extension Result {
  fileprivate var isSuccess: Bool { if case .success = self { true } else { false } }
}
