/// What a server keeps at most, and how long it waits.
///
/// Where something is full newcomers get an error, or what has been away or idle for longest makes room, as each limit says;
/// devices with an open observation keep being served.
public struct Limits: Sendable, Hashable {
  /// Devices remembered by one loop, connected or not; the one that is away for longest makes room. 200,000, about
  /// 1 KB each, 1.7 KB when connected.
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
  /// never asked. A loop asks at most 2,000 devices a second; a fleet that would need more is asked less often.
  public var probeInterval: Duration? = .seconds(30)
  /// How many such intervals in a row may pass without a word before a device counts as offline. 3, at least 1: with the
  /// default of `probeInterval` that is after two minutes of silence. Its observation is kept all the same.
  public var unansweredProbes = 3
  /// Pings of one loop whose answer is awaited, for six seconds at most; further devices are asked later. 10,000.
  public var probesUnderWay = 10_000
  /// Observations that one loop keeps of devices that cannot be reached: such a device is online again with the first packet
  /// that it sends. 100,000; the one that is out of reach for longest makes room, and is told with a 5.03 when it comes back.
  public var unreachableObservations = 100_000
  /// How long they are kept. 6 h; over DTLS each holds its session, 48 KB.
  public var unreachableTime: Duration = .seconds(6 * 3_600)
  /// Events kept for a subscriber that does not read; the oldest are dropped. 1,024.
  public var bufferedEvents = 1_024
  /// Bytes of a device name. 255, the longest option value of CoAP.
  public var deviceName = DeviceName.longest

  // MARK: What a transport takes

  /// Requests of a device in a second, on each of its sessions, of which as many may come at once; beyond that it gets 4.29
  /// with a Max-Age. Each call to it pays for a request more, which is its result. 100; 0 for no bound. Later blocks of a
  /// body, and what comes again because its answer was lost, do not count.
  ///
  /// Two things are answered as ever: the result of an open call, which the device may not send a second time, and what it
  /// logs, which is dropped, since firmware logs an error and sends that too.
  public var requestsPerSecond = 100
  /// Peers without an observation, of which the one idle for longest makes room for another. 20,000, about 1 KB each, 48 KB
  /// over DTLS and TLS.
  public var idleSessions = 20_000
  /// Observations open from one address and port, on one connection; one more gets 5.03. 4, at least 1: a device needs one,
  /// and a gateway one for each device that it speaks for from that port.
  public var observationsPerAddress = 4
  /// Time after which a peer without an observation is forgotten when it says nothing. 300 s.
  public var sessionTimeout: Duration = .seconds(300)
  /// DTLS handshakes under way, of peers that have shown that they are where they say; further ones are not answered until
  /// some of these are over. 5,000, 48 KB each, and up to 190 KB of a peer that sends what should come later.
  public var handshakes = 5_000
  /// Connections of TCP and TLS at a time; the next one is closed at once. 10,000, a descriptor each.
  public var connections = 10_000
  /// Bodies under way in blocks per session, in each direction; the one that was touched longest ago makes room. 8.
  public var transfersPerSession = 8
  /// Bytes of all bodies under way in blocks, in both directions; a transfer that would be too much gets 5.03. 64 MiB.
  public var transferBytes = 64 << 20

  public init() {}
}
