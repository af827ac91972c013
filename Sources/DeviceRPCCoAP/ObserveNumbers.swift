internal import DeviceRPC
internal import Synchronization

/// Where the Observe numbers of a registration begin, so that those of one device go on when it registers anew, from
/// wherever and on whichever loop: a client compares them for 128 seconds (RFC 7641 §3.4).
///
/// They are a clock, which goes faster than notifications to one device and comes round after nine minutes (§4.4). It begins
/// with the first registration of a device, at 2; devices whose names fall into the same slot share it.
final class ObserveNumbers: Sendable {
  private struct Slot {
    // In ticks of 33 us; zero before the first registration.
    var epoch: UInt64 = 0
    var last: UInt64 = 0
  }

  // 256 KB, however many devices there are.
  private static let count = 16_384
  private let slots = Mutex([Slot](repeating: Slot(), count: count))

  /// The number of the answer to a registration at a time of the loops' clock, in nanoseconds.
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
