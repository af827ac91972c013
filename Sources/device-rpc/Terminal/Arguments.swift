// Terminal: input from and output to the terminal, and how a command ends.
// For all commands; it depends on none of them.

// Conformances are as public as their types, so these imports must be public.
public import ArgumentParser
public import DeviceSimulator
public import Logging

extension SimulatedDialect: ExpressibleByArgument {}
extension SimulatedFormat: ExpressibleByArgument {}
extension SimulatedTransport: ExpressibleByArgument {}

extension Logger.Level: @retroactive ExpressibleByArgument {}

/// The numeric address of a host as typed; `localhost` is the only name that is accepted.
func numericHost(_ text: String) -> String { text == "localhost" ? "127.0.0.1" : text }
