internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCStore
internal import Logging

/// How `serve` keeps persistent calls.
struct JournalOptions: ParsableArguments {
  enum Durability: String, ExpressibleByArgument, CaseIterable {
    case full, normal

    var ofJournal: SQLiteCallJournal.Durability { self == .full ? .full : .normal }
  }

  enum Pacing: String, ExpressibleByArgument, CaseIterable {
    case burst
    case nextOnAcknowledgement = "next-on-acknowledgement"
    case nextOnResult = "next-on-result"

    var ofLimits: CallPacing {
      switch self {
      case .burst: .burst
      case .nextOnAcknowledgement: .nextOnAcknowledgement
      case .nextOnResult: .nextOnResult
      }
    }
  }

  @Option(help: settings.help("journal-calls")) var journalCalls: Int!
  @Option(help: settings.help("journal-days")) var journalDays: Double!
  @Option(help: settings.help("journal-durability")) var journalDurability: Durability!
  @Option(help: settings.help("pacing")) var pacing: Pacing!

  static let settings: [Setting<JournalOptions>] = [
    Setting(
      "journal-calls", \.journalCalls, default: 100_000, in: 1...10_000_000,
      "How many persistent calls are kept. The oldest that has ended makes room for a new one; with none, new ones are refused.",
      valueName: "number"),
    Setting(
      "journal-days", \.journalDays, default: 7, in: 0.01...3_650, "How long a persistent call is kept when it has ended.",
      valueName: "days"),
    Setting(
      "journal-durability", \.journalDurability, default: .full,
      "What a persistent call survives with --data: full, also a loss of power, or normal, the end of the process.", valueName: "kind",
      allowed: "full or normal"),
    Setting(
      "pacing", \.pacing, default: .burst,
      "When the next persistent call to a device is sent: burst, as soon as its connection takes it, next-on-acknowledgement or "
        + "next-on-result.", valueName: "kind", allowed: "one of \(Pacing.allValueStrings.joined(separator: ", "))"),
  ]

  private var limits: CallJournalLimits {
    var limits = CallJournalLimits()
    limits.calls = journalCalls
    limits.endedAge = .seconds(journalDays * 86_400)
    return limits
  }

  /// In the directory of the devices; in memory without one.
  ///
  /// A journal that cannot be opened keeps no device away and no other call from being made.
  func open(_ data: String?, _ logger: Logger) -> any CallJournal {
    guard let data else { return InMemoryCallJournal(limits: limits) }
    do throws(DeviceStoreError) {
      return try SQLiteCallJournal(directory: data, limits: limits, durability: journalDurability.ofJournal, logger: logger)
    } catch {
      logger.error("persistent calls are refused", metadata: ["reason": "\(Output.safe("\(error)"))"])
      return UnavailableCallJournal(CallJournalError("\(error)"))
    }
  }
}
