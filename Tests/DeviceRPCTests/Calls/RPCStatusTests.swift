import Testing

@testable import DeviceRPC

@Suite struct RPCStatusTests {
  @Test func `the statuses have gRPC's numbers and names`() {
    let listed: [RPCStatus] = [
      .ok, .cancelled, .unknown, .invalidArgument, .deadlineExceeded, .notFound, .alreadyExists,
      .permissionDenied, .resourceExhausted, .failedPrecondition, .aborted, .outOfRange,
      .unimplemented, .internalError, .unavailable, .dataLoss, .unauthenticated,
    ]
    let names = [
      "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
      "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
      "UNAUTHENTICATED",
    ]
    #expect(listed.map(\.rawValue) == Array(0...16))
    #expect(listed.map(\.name) == names)
    #expect("\(RPCStatus.notFound)" == "NOT_FOUND (5)")
  }

  @Test(arguments: [17, -1, Int.max, Int.min])
  func `other numbers are kept and have no name`(number: Int) {
    let status = RPCStatus(rawValue: number)
    #expect(status.rawValue == number)
    #expect(status.name == nil)
    #expect("\(status)" == "UNLISTED (\(number))")
  }
}
