/// The settings for calls to devices with firmware for ThingsBoard's device API.
public struct ThingsBoardSettings: Sendable, Hashable {
  /// The longest encoded call, in bytes; a longer one fails with `CallError.invalidCall`. 65,536, as ThingsBoard's limit over HTTP. A
  /// call of more than 1,024 bytes travels block-wise (RFC 7959).
  public var maximumPayload = 65_536
  /// Calls that may be sent and not have ended; the next one waits until one of them has ended. 20, at least 1; `Int.max` for no
  /// limit, as ThingsBoard.
  public var unansweredCalls = 20

  public init() {}
}
