// Terminal: the terminal: what is read from it and written to it, and how a command ends.
// For all commands; knows none of them.

// Conformances are as public as their types, and so is what they import.
public import ArgumentParser
public import DeviceSimulator
public import Logging

extension SimulatedFormat: ExpressibleByArgument {}
extension SimulatedTransport: ExpressibleByArgument {}

extension Logger.Level: @retroactive ExpressibleByArgument {}

/// The numeric address of what is typed as a host: `localhost` is the one name that is known.
func numericHost(_ text: String) -> String { text == "localhost" ? "127.0.0.1" : text }
