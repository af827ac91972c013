internal import Foundation

/// When a key expires, as it is typed.
enum KeysExpiry {
  static let form = "a number of days or hours, such as 90d or 12h, or a time, such as 2027-01-31 or 2027-01-31T12:00:00Z"

  /// The last time that is stored: the end of the year 9999.
  private static let last = Date(timeIntervalSince1970: 253_402_300_799)

  /// `90d` and `12h` are from `now` on; `2027-01-31` is the beginning of that day in UTC. Nil for anything else, and for times
  /// after the year 9999.
  static func date(_ text: String, now: Date) -> Date? {
    let date = time(text) ?? duration(text).map(now.addingTimeInterval)
    return date.flatMap { $0 <= last ? $0 : nil }
  }

  private static func duration(_ text: String) -> TimeInterval? {
    guard let match = text.wholeMatch(of: /([0-9]{1,7})([dh])/), let number = Double(match.1) else { return nil }
    return number * (match.2 == "d" ? 86_400 : 3_600)
  }

  private static func time(_ text: String) -> Date? {
    guard let match = text.wholeMatch(of: /([0-9]{4}-[0-9]{2}-[0-9]{2})(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?/) else { return nil }
    let whole = match.2 == nil ? "\(match.1)T00:00:00Z" : text
    // What is parsed must be what was typed: some parsers take February 30 for March 2.
    guard let date = try? Date(whole, strategy: .iso8601), date.formatted(.iso8601) == whole else { return nil }
    return date
  }
}
