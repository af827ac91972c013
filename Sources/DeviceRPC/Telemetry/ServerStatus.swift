/// The version of this package.
package let packageVersion = "0.1.0"

/// How things are in a server at a moment.
public struct ServerStatus: Sendable, Hashable {
  /// A table of the server, with its limit.
  public struct Table: Sendable, Hashable {
    /// The names, which are those of `Limits`.
    public enum Name: String, Sendable, Hashable, CaseIterable {
      case devices, calls, endedCalls, endedCallBytes, unreachableObservations, probesUnderWay
    }

    public let name: Name
    /// The number of its entries, or of bytes.
    public var used: Int
    /// The most that it may have, on all loops together.
    public var limit: Int

    public init(_ name: Name, used: Int, limit: Int) {
      self.name = name
      self.used = used
      self.limit = limit
    }
  }

  /// The devices that are remembered, by state.
  public var devices: [DeviceInfo.State: Int]
  /// Calls that wait to be sent.
  public var queuedCalls: Int
  /// Calls that were sent and have not ended.
  public var sentCalls: Int
  /// Callers that wait for the end of a call by its id.
  public var waiters: Int
  public var tables: [Table]

  public init(
    devices: [DeviceInfo.State: Int] = [:], queuedCalls: Int = 0, sentCalls: Int = 0, waiters: Int = 0, tables: [Table] = []
  ) {
    self.devices = devices
    self.queuedCalls = queuedCalls
    self.sentCalls = sentCalls
    self.waiters = waiters
    self.tables = tables
  }

  /// Adds what another loop, or another server, is at.
  public mutating func add(_ other: ServerStatus) {
    devices.merge(other.devices, uniquingKeysWith: +)
    queuedCalls += other.queuedCalls
    sentCalls += other.sentCalls
    waiters += other.waiters
    for table in other.tables {
      if let index = tables.firstIndex(where: { $0.name == table.name }) {
        tables[index].used += table.used
        tables[index].limit += table.limit
      } else {
        tables.append(table)
      }
    }
  }
}

extension ServerStatus.Table.Name {
  /// What is in the table, in a few words.
  public var summary: String {
    switch self {
    case .devices: "Devices remembered"
    case .calls: "Open calls"
    case .endedCalls: "Ended calls remembered"
    case .endedCallBytes: "Bytes of ended calls"
    case .unreachableObservations: "Observations of unreachable devices"
    case .probesUnderWay: "Pings under way"
    }
  }
}

extension DeviceLoop {
  /// How things are on the loop, and what its transport has counted.
  var sample: (status: ServerStatus, transport: TransportCounts) { (status, driver.transportCounts) }

  private var status: ServerStatus {
    ServerStatus(
      devices: [
        .observing: onlineCount - quietCount, .quiet: quietCount, .offline: devices.count - unseenCount - onlineCount,
      ],
      queuedCalls: pending.waitingCount, sentCalls: pending.count - pending.waitingCount, waiters: waiters.count,
      tables: [
        .init(.devices, used: devices.count, limit: limits.devices), .init(.calls, used: pending.count, limit: limits.calls),
        .init(.endedCalls, used: history.count, limit: limits.endedCalls),
        .init(.endedCallBytes, used: history.bytes, limit: limits.endedCallBytes),
        .init(.unreachableObservations, used: keptLinks, limit: limits.unreachableObservations),
        .init(.probesUnderWay, used: probing, limit: limits.probesUnderWay),
      ])
  }
}
