/// The limits of a server: how much it keeps, and how long it waits.
///
/// When a table is full, newcomers get an error, or the entry that has been away or idle longest is removed, as each limit
/// says. Devices with an open observation continue to be served.
public struct Limits: Sendable, Hashable {
  /// Devices remembered by one loop, connected or not. When there is no room, the one that has been away longest is forgotten.
  /// 200,000, about 1 KB each, 1.9 KB when connected.
  public var devices = 200_000
  /// Calls under way or waiting, to all devices of one loop. 100,000, about 600 bytes each plus the parameters.
  public var calls = 100_000
  /// Calls under way or waiting, to one device. 1,000.
  public var callsPerDevice = 1_000
  /// The number of ended calls that one loop remembers; the one that ended first is forgotten first. 10,000, about 600 bytes
  /// each, parameters and detail not counted; 0 for none.
  ///
  /// These are the calls of `DeviceRPCServer.begin`, and so those over HTTP; see `remembersAllCalls` for others.
  public var endedCalls = 10_000
  /// The number of ended calls that are remembered of one device. 100.
  public var endedCallsPerDevice = 100
  /// Whether the calls of `perform` and of `Device.call` are remembered, too. False: their results go to whoever made them, and
  /// keeping them in memory costs a tenth of the calls per second.
  public var remembersAllCalls = false
  /// The memory of the ended calls that one loop remembers, parameters and details included, in bytes. 16 MiB.
  public var endedCallBytes = 16 << 20
  /// Persistent calls to one device that wait to be sent. 10,000. How many there may be in all is a limit of the journal.
  public var persistentCallsPerDevice = 10_000
  /// The longest parameters of a persistent call, with its note, in bytes of memory. 1 MiB.
  public var persistentCallBytes = 1 << 20
  /// The memory of the parameters of all open persistent calls of one loop, in bytes; beyond that new ones are refused. 64 MiB.
  public var persistentBytes = 64 << 20
  /// Which persistent call to a device is sent next, when another is under way. As many as the device's link takes.
  public var pacing = CallPacing.burst
  /// Time to wait for a result when the call sets no timeout. 10 s.
  public var defaultTimeout: Duration = .seconds(10)
  /// The longest time that a call may wait for its device, and for its result. 24 h each; longer times are reduced to it.
  public var longestTimeout: Duration = .seconds(86_400)
  /// Time that open calls have to end when the server shuts down. 5 s.
  public var grace: Duration = .seconds(5)
  /// Silence of a device after which it is sent a CoAP ping, and the interval between further pings; nil or zero for no
  /// pings. 30 s.
  ///
  /// A ping and its answer are two datagrams, together 64 bytes with the headers of IP and UDP, and some 60 more with DTLS.
  /// They keep a NAT binding open, but also keep a sleeping radio awake. Firmware with Golioth's SDK sends a keep-alive every
  /// 9 s, and so is never pinged. A loop pings at most 2,000 devices per second; with more devices the interval is longer.
  public var probeInterval: Duration? = .seconds(30)
  /// Intervals in a row without a packet from the device, after the first ping, until the device counts as offline. 3, at least
  /// 1. With the default `probeInterval` this is after two minutes of silence. The device's observation is kept.
  public var unansweredProbes = 3
  /// Pings under way on one loop, each for six seconds at most; further devices are pinged later. 10,000.
  public var probesUnderWay = 10_000
  /// Observations of unreachable devices that one loop keeps: such a device is online again with the first packet that it
  /// sends. 100,000. When there is no room, the device that has been unreachable longest loses its observation; it gets a 5.03
  /// at that time and with its next request.
  public var unreachableObservations = 100_000
  /// Time that an observation of an unreachable device is kept. 6 h; over DTLS each one holds its session, 48 KB.
  public var unreachableTime: Duration = .seconds(6 * 3_600)
  /// Events buffered for a subscriber that does not read them; when the buffer is full, the oldest is dropped. 1,024.
  public var bufferedEvents = 1_024
  /// The longest device name, in bytes. 255, the longest option value of CoAP.
  public var deviceName = DeviceName.longest

  // MARK: Calls from devices

  /// Functions that run at the same time for devices that have called them. 1,000; further calls are refused.
  public var deviceRequests = 1_000
  /// Those of one device. 4.
  public var deviceRequestsPerDevice = 4
  /// Time that a function has which a device has called. 10 s, as ThingsBoard's (`COAP_TIMEOUT`).
  public var deviceRequestTimeout: Duration = .seconds(10)

  // MARK: Transport

  /// Requests per second of a device on each of its sessions, and the size of a burst. Further requests get 4.29 with a Max-Age.
  /// 100; 0 for no limit.
  ///
  /// Each call to the device allows one more request, for its result. Later blocks of a body do not count, nor do
  /// retransmissions that come because an answer was lost.
  ///
  /// Above the limit two kinds of requests still succeed. The result of an open call is accepted, since the device may not send
  /// it a second time. Log messages are dropped but get a success response, since firmware would log an error and send that, too.
  public var requestsPerSecond = 100
  /// Peers without an observation; when there is no room, the one that has been idle longest is removed. 20,000, about 1 KB
  /// each, 48 KB over DTLS and TLS.
  public var idleSessions = 20_000
  /// Observations open from one address and port, or on one connection; one more gets 5.03. 4, at least 1. A device needs one; a
  /// gateway needs one for each device that it represents from that port.
  public var observationsPerAddress = 4
  /// Silence after which a peer without an observation is forgotten. 300 s.
  public var sessionTimeout: Duration = .seconds(300)
  /// DTLS handshakes under way of peers that have proved their address; further ones are not answered until some have ended.
  /// 5,000, 48 KB each, and up to 190 KB for a peer that sends handshake messages out of order.
  public var handshakes = 5_000
  /// Connections of TCP and TLS; the next one is closed at once. 10,000, one file descriptor each.
  public var connections = 10_000
  /// Block-wise transfers (RFC 7959) under way per session, in each direction; when there is no room, the one that was active
  /// least recently is dropped. 8.
  public var transfersPerSession = 8
  /// Bytes of all block-wise transfers under way, in both directions; a transfer that would exceed it gets 5.03. 64 MiB.
  public var transferBytes = 64 << 20

  public init() {}
}
