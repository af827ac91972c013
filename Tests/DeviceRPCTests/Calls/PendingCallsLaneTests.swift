import DeviceRPC
import Testing

@Suite struct PendingCallsLaneTests {
  private var table = Table(firstSerial: 1)

  init() { table.open(1, now: .zero) }

  @Test mutating func `calls leave one after the other, the next when the last is acknowledged`() {
    let calls = (0..<3).map { _ in table.call() }
    #expect(table.sendAll() == [calls[0]])
    #expect(table.sendAll() == [])
    table.settled(calls[0], on: 1, isDelivered: true)
    #expect(table.sendAll() == [calls[1]])
    table.settled(calls[1], on: 1, isDelivered: false)
    #expect(table.sendAll() == [calls[2]])
  }

  @Test mutating func `a window lets several be under way`() {
    let calls = (0..<5).map { _ in table.call() }
    #expect(table.sendAll(window: 3) == Array(calls[0..<3]))
    table.settled(calls[1], on: 1, isDelivered: true)
    #expect(table.sendAll(window: 3) == [calls[3]])
  }

  @Test mutating func `of calls without a result the device has as many as its second window lets, until one ends`() {
    let calls = (0..<6).map { _ in table.call() }
    for call in calls[0..<2] {
      #expect(table.sendAll(unanswered: 2) == [call])
      table.settled(call, on: 1, isDelivered: true)
    }
    #expect(table.sendAll(unanswered: 2) == [])
    #expect(table.result(id: "m/0001", from: 1).serial == calls[0])
    #expect(table.sendAll(unanswered: 2) == [calls[2]])
    // One that has not left takes no room, and makes none.
    #expect(table.end(calls[3]) != nil)
    table.settled(calls[2], on: 1, isDelivered: true)
    #expect(table.sendAll(unanswered: 2) == [])
    #expect(table.end(calls[1]) != nil)
    #expect(table.sendAll(unanswered: 2) == [calls[4]])
    table.settled(calls[4], on: 1, isDelivered: false)
    #expect(table.sendAll(unanswered: 2) == [])
    // What has left over another link is still to be answered.
    table.open(1, now: .zero)
    #expect(table.sendAll(unanswered: 2) == [])
    #expect(table.expire(now: .seconds(10)).count == 3)
  }

  @Test mutating func `an acknowledgement that comes twice makes no room for two`() {
    let calls = (0..<4).map { _ in table.call() }
    table.sendAll()
    table.settled(calls[0], on: 1, isDelivered: true)
    table.settled(calls[0], on: 1, isDelivered: true)
    #expect(table.sendAll() == [calls[1]])
  }

  @Test mutating func `devices do not wait for one another`() {
    table.open(2, now: .zero)
    let (first, second) = (table.call(on: 1), table.call(on: 2))
    #expect(table.sendAll(1) == [first])
    #expect(table.sendAll(2) == [second])
  }

  @Test mutating func `a call that was given up holds its place until its message is settled`() {
    let calls = (0..<2).map { _ in table.call() }
    table.sendAll()
    #expect(table.end(calls[0])?.delivery == .sentNoAck)
    #expect(table.sendAll() == [])
    table.settled(calls[0], on: 1, isDelivered: true)
    #expect(table.sendAll() == [calls[1]])
  }

  @Test mutating func `a result shows that the message has arrived, even before its acknowledgement`() {
    let calls = (0..<2).map { _ in table.call() }
    table.sendAll()
    #expect(table.result(id: "m/0001", from: 1).serial == calls[0])
    #expect(table.sendAll() == [calls[1]])
  }

  @Test mutating func `delivery goes from not sent over sent to delivered`() {
    let call = table.call()
    #expect(table[call]?.delivery == .notSent)
    table.sendAll()
    #expect(table[call]?.delivery == .sentNoAck)
    table.settled(call, on: 1, isDelivered: false)
    #expect(table[call]?.delivery == .sentNoAck)
    table.settled(call, on: 1, isDelivered: true)
    #expect(table[call]?.delivery == .delivered)
  }

  @Test mutating func `an unreadable answer is remembered, whatever becomes of the message`() {
    let call = table.call()
    #expect(table.unreadable(id: "m/0001", from: 1) == nil)
    table.sendAll()
    #expect(table.unreadable(id: "m/0001", from: 2) == nil)
    #expect(table.unreadable(id: "n/0001", from: 1) == nil)
    #expect(table.unreadable(id: "m/0001", from: 1) == call)
    table.settled(call, on: 1, isDelivered: true)
    #expect(table[call]?.delivery == .unreadable && table[call]?.problem == "garbled")
    #expect(table.result(id: "m/0001", from: 1).serial == call)
  }

  @Test(arguments: [Acknowledgement.ping, .none])
  mutating func `what is not acknowledged holds up nobody`(_ acknowledgement: Acknowledgement) {
    let calls = (0..<2).map { _ in table.call() }
    #expect(table.sendAll(by: acknowledgement) == calls)
    #expect(table[calls[0]]?.isAcknowledgeable == false)
  }

  @Test mutating func `before its end a call is asked for, unless it is known to have arrived`() {
    let (silent, known) = (table.call(timeout: .seconds(40)), table.call(timeout: .seconds(40)))
    table.sendAll(by: .ping)
    table.settled(known, on: 1, isDelivered: true)
    #expect(table.nextDeadline() == .seconds(35))
    var asked: [UInt32] = []
    #expect(table.expire(now: .seconds(35)) { asked.append($0.serial) }.isEmpty)
    #expect(asked == [silent])
    #expect(table.nextDeadline() == .seconds(40))
    #expect(table.expire(now: .seconds(40)).count == 2)
  }

  @Test mutating func `nothing leaves for a device that is away`() {
    let call = table.call(on: 2, wait: .seconds(5))
    #expect(table.sendAll(2) == [])
    #expect(table.oldestWaiting(2)?.serial == call)
    #expect(table.oldestWaiting(3) == nil)
  }

  @Test mutating func `calls that cannot wait end when the device goes, those that can stay`() {
    let impatient = table.call()
    let patient = table.call(wait: .seconds(5))
    let late = table.call(wait: .seconds(1))
    #expect(table.close(1, now: .seconds(1)).map(\.serial) == [impatient, late])
    #expect(table[patient]?.deadline == .seconds(5))
    #expect(table.nextDeadline() == .seconds(5))
  }

  @Test mutating func `calls that had not left go out on the new link, in order`() {
    let calls = (0..<3).map { _ in table.call(wait: .seconds(60)) }
    table.sendAll()
    #expect(table.close(1, now: .seconds(1)).isEmpty)
    table.open(1, now: .seconds(2))
    #expect(table.sendAll(window: 9, at: .seconds(2)) == [calls[1], calls[2]])
  }

  @Test mutating func `calls that had left are not sent again and stay until their deadline`() {
    let call = table.call()
    table.sendAll()
    #expect(table.close(1, now: .seconds(1)).isEmpty)
    table.open(1, now: .seconds(2))
    #expect(table.sendAll(at: .seconds(2)) == [])
    #expect(table.nextDeadline() == .seconds(10))
    #expect(table.result(id: "m/0001", from: 1).serial == call)
  }

  @Test mutating func `what is unsettled on the old link does not hold up the new one`() {
    let calls = (0..<2).map { _ in table.call() }
    table.sendAll()
    // Replaced without having been closed.
    table.open(1, now: .seconds(1))
    #expect(table.sendAll() == [calls[1]])
    // And its late acknowledgement makes no room.
    table.settled(calls[0], on: 1, isDelivered: true)
    _ = table.call()
    #expect(table.sendAll() == [])
  }

  @Test mutating func `an encoding is forgotten with the link it was made for`() {
    let call = table.call(wait: .seconds(60), payload: [1, 2, 3])
    #expect(table.nextToSend(1, window: 1)?.payload == [1, 2, 3])
    _ = table.close(1, now: .seconds(1))
    #expect(table[call]?.payload == nil)
    let other = table.call(on: 2, wait: .seconds(60), payload: [1, 2, 3])
    table.open(2, now: .seconds(2))
    #expect(table[other]?.payload == nil)
    let sent = table.call(on: 3, wait: .seconds(60), payload: [1, 2, 3])
    table.sent(sent, now: .zero)
    #expect(table[sent]?.payload == nil)
  }

  @Test mutating func `a call is sent once, whatever is said`() {
    let call = table.call()
    table.sent(call, now: .seconds(1))
    table.sent(call, now: .seconds(2))
    #expect(table[call]?.sent == .seconds(1))
    table.sent(99, now: .seconds(1))
    #expect(table.count == 1)
  }

  @Test mutating func `a device that asks takes its calls without an open lane`() {
    let calls = (0..<2).map { _ in table.call(on: 2, wait: .seconds(60)) }
    table.sent(calls[0], .none, now: .seconds(50))
    #expect(table.oldestWaiting(2)?.serial == calls[1])
    // From now on it is the time for the result that counts.
    #expect(table[calls[0]]?.deadline == .seconds(60))
    #expect(table.expire(now: .seconds(60)).count == 2)
  }

  @Test mutating func `closing what is not open does nothing`() {
    let call = table.call(on: 2)
    #expect(table.close(2, now: .seconds(1)).isEmpty)
    #expect(table.close(7, now: .seconds(1)).isEmpty)
    #expect(table[call] != nil)
  }
}
