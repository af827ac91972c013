/// The status of a call, by gRPC's status codes.
///
/// The constants are the 17 codes of `golioth_rpc_status` in Golioth's firmware SDK 0.22, which have gRPC's numbers. A device
/// may answer with any other number, which is kept unchanged.
public struct RPCStatus: RawRepresentable, Hashable, Sendable {
  /// The number on the wire.
  public let rawValue: Int

  /// The status of this number, whether listed or not.
  public init(rawValue: Int) { self.rawValue = rawValue }

  /// 0: the function ran and succeeded.
  public static let ok = RPCStatus(rawValue: 0)
  /// 1: the call was cancelled.
  public static let cancelled = RPCStatus(rawValue: 1)
  /// 2: an error without a better code.
  public static let unknown = RPCStatus(rawValue: 2)
  /// 3: the function refuses these parameters.
  public static let invalidArgument = RPCStatus(rawValue: 3)
  /// 4: there was no result in time.
  public static let deadlineExceeded = RPCStatus(rawValue: 4)
  /// 5: the device has no such function, or the function did not find what was asked for.
  public static let notFound = RPCStatus(rawValue: 5)
  /// 6: the entity to create exists already.
  public static let alreadyExists = RPCStatus(rawValue: 6)
  /// 7: the caller may not do this.
  public static let permissionDenied = RPCStatus(rawValue: 7)
  /// 8: something is used up, such as memory or a quota.
  public static let resourceExhausted = RPCStatus(rawValue: 8)
  /// 9: the device is not in the state the function needs.
  public static let failedPrecondition = RPCStatus(rawValue: 9)
  /// 10: the function gave up, for example because of a conflict.
  public static let aborted = RPCStatus(rawValue: 10)
  /// 11: a parameter is past the valid range.
  public static let outOfRange = RPCStatus(rawValue: 11)
  /// 12: the function exists but is not implemented here.
  public static let unimplemented = RPCStatus(rawValue: 12)
  /// 13: something is broken (INTERNAL).
  public static let internalError = RPCStatus(rawValue: 13)
  /// 14: not possible now; it may be later.
  public static let unavailable = RPCStatus(rawValue: 14)
  /// 15: data was lost or corrupted.
  public static let dataLoss = RPCStatus(rawValue: 15)
  /// 16: the caller has not proved who it is.
  public static let unauthenticated = RPCStatus(rawValue: 16)

  /// gRPC's name of the number, such as `NOT_FOUND`, or nil for a number that is not listed.
  ///
  /// Golioth's headers spell two of them differently: `CANCELED` and `ALREADYEXISTS`.
  public var name: String? {
    Self.names.indices.contains(rawValue) ? Self.names[rawValue] : nil
  }

  private static let names = [
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
  ]
}

extension RPCStatus: CustomStringConvertible {
  /// The name and the number, such as `NOT_FOUND (5)`; `UNLISTED (99)` for a number without a name.
  public var description: String { "\(name ?? "UNLISTED") (\(rawValue))" }
}
