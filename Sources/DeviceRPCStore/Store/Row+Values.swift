internal import Foundation
internal import GRDB

// None of these traps, whatever the file contains: it may have been written by hand, or be damaged.
extension Row {
  /// The bytes of a column; nil for NULL and for numbers.
  func bytes(_ index: Int) -> [UInt8]? { Data.fromDatabaseValue(self[index]).map(Array.init) }

  /// The text of a column; nil for NULL, for numbers and for invalid UTF-8.
  func text(_ index: Int) -> String? { bytes(index).flatMap { String(validating: $0, as: UTF8.self) } }

  func integer(_ index: Int) -> Int64? { Int64.fromDatabaseValue(self[index]) }

  func date(_ index: Int) -> Date? { integer(index).map(Date.init(milliseconds:)) }

  /// The text of a column, for people; invalid UTF-8 becomes U+FFFD.
  func shownText(_ index: Int) -> String { String(decoding: bytes(index) ?? [], as: UTF8.self) }
}

extension Statement {
  /// The result of `PRAGMA data_version`.
  func dataVersion() throws -> Int? { try Int.fetchOne(self) }
}

extension Date {
  // Until the end of the year 9999, the last one that is printed.
  private static let range = 0...253_402_300_799_000 as ClosedRange<Int64>

  /// Milliseconds since 1970; a time outside of that range becomes the nearest one in it, and NaN becomes 0.
  var milliseconds: Int64 {
    let value = (timeIntervalSince1970 * 1_000).rounded()
    guard value > Double(Self.range.lowerBound) else { return Self.range.lowerBound }
    return value < Double(Self.range.upperBound) ? Int64(value) : Self.range.upperBound
  }

  init(milliseconds: Int64) {
    self.init(timeIntervalSince1970: Double(min(max(milliseconds, Self.range.lowerBound), Self.range.upperBound)) / 1_000)
  }
}
