import Testing

@testable import DeviceRPC

@Suite struct PresenceTests {
  private let interval = Duration.seconds(30)
  private var presence = Presence(since: .seconds(100))

  private mutating func look(_ heard: Int, at now: Int) -> Presence.Action {
    presence.look(heard: .seconds(heard), now: .seconds(now), interval: interval, limit: 2)
  }

  @Test mutating func `it asks after an interval of silence, and gives up after two more`() {
    #expect(look(100, at: 110) == .wait(until: .seconds(130)))
    #expect(look(100, at: 130) == .probe(until: .seconds(160)))
    #expect(!presence.isQuiet && presence.since == .seconds(100))
    #expect(look(100, at: 140) == .wait(until: .seconds(160)))
    #expect(look(100, at: 160) == .probe(until: .seconds(190)))
    #expect(presence.isQuiet && presence.since == .seconds(160))
    #expect(look(100, at: 190) == .giveUp)
  }

  @Test mutating func `only what came after the question answers it`() {
    _ = look(100, at: 130)
    #expect(presence.wasHeard(.seconds(129)) == false)
    #expect(look(129, at: 160) == .probe(until: .seconds(190)))
    #expect(presence.isQuiet)
    #expect(presence.wasHeard(.seconds(160)) == true)
    #expect(!presence.isQuiet && presence.since == .seconds(160))
    #expect(presence.wasHeard(.seconds(161)) == false)
    // The count begins anew.
    #expect(look(160, at: 190) == .probe(until: .seconds(220)))
    #expect(look(160, at: 220) == .probe(until: .seconds(250)))
    #expect(look(160, at: 250) == .giveUp)
  }

  @Test mutating func `a failure counts once, and not when the interval has counted it`() {
    #expect(presence.probeFailed(.seconds(120)) == false)
    _ = look(100, at: 130)
    #expect(presence.probeFailed(.seconds(135)) == true)
    #expect(presence.probeFailed(.seconds(136)) == false)
    #expect(presence.isQuiet && !presence.hasGivenUp(2) && presence.hasGivenUp(1))
  }
}
