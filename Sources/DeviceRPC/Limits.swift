/// What a server keeps at most, and how long it waits.
///
/// Full means an error to the newcomer; those that are already served keep being served.
public struct Limits: Sendable, Hashable {
  /// Devices remembered by one loop, connected or not; the one that is away for longest makes room. 200,000, about
  /// 1 KB each.
  public var devices = 200_000
  /// Calls under way or waiting, to all devices of one loop. 100,000, about 600 bytes each and the parameters.
  public var calls = 100_000
  /// Calls under way or waiting, to one device. 1,000.
  public var callsPerDevice = 1_000
  /// Time for a result where the call does not say. 10 s.
  public var defaultTimeout: Duration = .seconds(10)
  /// The longest that a call may wait for a device, and for a result. 24 h each.
  public var longestTimeout: Duration = .seconds(86_400)
  /// Time that open calls have to end when the server ends. 5 s.
  public var grace: Duration = .seconds(5)
  /// How long a device may say nothing before it is asked for a sign of life with a CoAP ping, and how long after that it
  /// is asked again; nil, or zero, for never. 30 s.
  ///
  /// A ping and its answer are two datagrams, 64 bytes with the headers of IP and UDP, and some 60 more with DTLS; they
  /// keep a NAT's binding open, and a sleeping radio awake. Firmware with Golioth's SDK sends a keep-alive each 9 s and is
  /// never asked, but for Zephyr's port, whose empty messages are seen by nobody. A loop asks at most 2,000 devices
  /// a second; a fleet that would need more is asked less often.
  public var probeInterval: Duration? = .seconds(30)
  /// How many such intervals in a row may pass without a word before a device counts as offline. 3, at least 1: with the
  /// default of `probeInterval` that is after two minutes of silence.
  public var unansweredProbes = 3
  /// Events kept for a subscriber that does not read; the oldest are dropped. 1,024.
  public var bufferedEvents = 1_024
  /// Bytes of a device name. 255, the longest option value of CoAP.
  public var deviceName = 255

  public init() {}
}
