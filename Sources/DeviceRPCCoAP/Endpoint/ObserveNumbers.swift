internal import DeviceRPC
internal import Synchronization

/// The first Observe number of each registration. The numbers of a device continue when it registers again, from any address
/// and on any loop, since a client compares them for 128 seconds (RFC 7641 §3.4).
///
/// The numbers follow a clock that runs faster than notifications to one device are sent, and wraps around after nine minutes
/// (§4.4). It begins with the first registration of a device, at 2. Devices whose names hash to the same slot share it.
final class ObserveNumbers: Sendable {
  private struct Slot {
    // In ticks of 33 us; zero before the first registration.
    var epoch: UInt64 = 0
    var last: UInt64 = 0
  }

  // 256 KB, however many devices there are.
  private static let count = 16_384
  private let slots = Mutex([Slot](repeating: Slot(), count: count))

  /// The number for the response to a registration at `now`, in nanoseconds of the loops' clock.
  func first(of device: String, now: UInt64) -> UInt32 {
    let index = Int(DeviceDirectory.hash(device) % UInt64(Self.count))
    return slots.withLock { slots in
      let tick = max(now >> 15, slots[index].last + 1)
      if slots[index].epoch == 0 { slots[index].epoch = tick }
      slots[index].last = tick
      return UInt32(truncatingIfNeeded: tick - slots[index].epoch + 2) & 0xff_ffff
    }
  }
}
