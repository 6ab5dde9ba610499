# Elixir's Registry and OTP's pg, driven by a file of operations: `elixir driver.exs FILE`. Prints a line for
# each. The language is in the head of tests/registry_otp.rs.

defmodule Person do
  # A process that runs functions as itself, and collects what else it is sent.
  def start, do: spawn(fn -> loop([]) end)

  def ask(pid, fun) do
    ref = Process.monitor(pid)
    send(pid, {:run, self(), ref, fun})

    receive do
      {^ref, result} ->
        Process.demonitor(ref, [:flush])
        result
    end
  end

  # What it has been sent since the last time.
  def mail(pid) do
    ref = make_ref()
    send(pid, {:mail, self(), ref})

    receive do
      {^ref, mail} -> mail
    end
  end

  defp loop(mail) do
    receive do
      {:run, from, ref, fun} ->
        send(from, {ref, fun.()})
        loop(mail)

      {:mail, from, ref} ->
        send(from, {ref, Enum.reverse(mail)})
        loop([])

      # The registry links whoever registers; nothing is linked otherwise.
      other ->
        loop([other | mail])
    end
  end
end

defmodule Driver do
  def main(file) do
    lines = file |> File.read!() |> String.split("\n", trim: true)
    out = Enum.reduce(lines, {%{people: %{}, monitors: %{}}, []}, &step/2) |> elem(1)
    IO.write(Enum.intersperse(Enum.reverse(out), "\n"))
    IO.write("\n")
  end

  defp step(line, {state, out}) do
    {result, state} = act(String.split(line), state)
    {state, [result | out]}
  end

  # A sequence begins: a fresh registry (unique, or duplicate with so many partitions) and a fresh scope.
  defp act(["new", number, kind, partitions], _) do
    registry = String.to_atom("registry_#{number}")
    scope = String.to_atom("scope_#{number}")
    ear = Person.start()
    name = String.to_atom("ear_#{number}")
    Process.register(ear, name)

    {:ok, _} =
      Registry.start_link(
        keys: String.to_atom(kind),
        name: registry,
        partitions: String.to_integer(partitions),
        listeners: [name],
        meta: [first: 1]
      )

    {:ok, _} = :pg.start_link(scope)
    people = Map.new(0..3, &{"p#{&1}", Person.start()})
    names = Map.new(people, fn {name, pid} -> {pid, name} end)

    {"new",
     %{
       registry: registry,
       scope: scope,
       ear: ear,
       people: people,
       names: names,
       monitors: %{},
       ears: Map.new(0..1, &{"m#{&1}", Person.start()})
     }}
  end

  defp act(["kill", name], state) do
    pid = state.people[name]
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)

    receive do
      {:DOWN, ^ref, _, _, _} -> :ok
    end

    # Elixir and pg hear of it when they hear of it.
    until(fn ->
      Registry.select(state.registry, [{{:_, pid, :_}, [], [true]}]) == [] and
        Registry.keys(state.registry, pid) == [] and
        Enum.all?(:pg.which_groups(state.scope), &(pid not in :pg.get_members(state.scope, &1)))
    end)

    _ = :sys.get_state(state.scope)
    next = Person.start()
    # Its name is that of the dead one until the events that say so are read.
    events = events(state)
    people = Map.put(state.people, name, next)
    names = state.names |> Map.delete(pid) |> Map.put(next, name)
    # Listeners are not told of deaths.
    Person.mail(state.ear)
    {"dead" <> events, %{state | people: people, names: names}}
  end

  defp act(["register", name, key, value], state) do
    value = String.to_integer(value)

    result =
      case as(state, name, fn -> Registry.register(state.registry, key, value) end) do
        {:ok, _} -> "ok"
        {:error, {:already_registered, pid}} -> "taken by " <> state.names[pid]
      end

    {result <> heard(state), state}
  end

  defp act(["unregister", name, key], state) do
    :ok = as(state, name, fn -> Registry.unregister(state.registry, key) end)
    {"ok" <> heard(state), state}
  end

  defp act(["unregister_match", name, key, value], state) do
    value = String.to_integer(value)
    :ok = as(state, name, fn -> Registry.unregister_match(state.registry, key, value) end)
    {"ok" <> heard(state), state}
  end

  defp act(["update", name, key], state) do
    change = fn -> Registry.update_value(state.registry, key, &(&1 + 1)) end

    result =
      case as(state, name, change) do
        {new, old} -> "#{new} from #{old}"
        :error -> "error"
      end

    {result, state}
  end

  defp act(["lookup", key], state),
    do: {entries(Registry.lookup(state.registry, key), state), state}

  defp act(["whereis", key], state) do
    case Registry.whereis_name({state.registry, key}) do
      :undefined -> {"nobody", state}
      pid -> {state.names[pid], state}
    end
  end

  defp act(["keys", name], state),
    do: {inspect_all(Registry.keys(state.registry, state.people[name])), state}

  defp act(["values", key, name], state),
    do: {inspect_all(Registry.values(state.registry, key, state.people[name])), state}

  defp act(["match", key, above], state) do
    guards = [{:>, :"$1", String.to_integer(above)}]
    {entries(Registry.match(state.registry, key, :"$1", guards), state), state}
  end

  defp act(["count_match", key, above], state) do
    guards = [{:>, :"$1", String.to_integer(above)}]
    {"#{Registry.count_match(state.registry, key, :"$1", guards)}", state}
  end

  defp act(["select", above], state) do
    guards = [{:>, :"$3", String.to_integer(above)}]
    spec = [{{:"$1", :"$2", :"$3"}, guards, [{{:"$1", :"$2", :"$3"}}]}]
    all = Registry.select(state.registry, spec)
    {all |> Enum.map(fn {k, p, v} -> "#{k}:#{state.names[p]}:#{v}" end) |> list(), state}
  end

  defp act(["count_select", above], state) do
    spec = [{{:_, :_, :"$1"}, [{:>, :"$1", String.to_integer(above)}], [true]}]
    {"#{Registry.count_select(state.registry, spec)}", state}
  end

  defp act(["count"], state), do: {"#{Registry.count(state.registry)}", state}

  defp act(["dispatch", key | opts], state) do
    me = self()
    ref = make_ref()
    options = if opts == ["parallel"], do: [parallel: true], else: []
    :ok = Registry.dispatch(state.registry, key, &send(me, {ref, &1}), options)
    {parts(ref, []) |> Enum.concat() |> entries(state), state}
  end

  defp act(["meta", key], state) do
    case Registry.meta(state.registry, String.to_atom(key)) do
      {:ok, value} -> {"#{value}", state}
      :error -> {"error", state}
    end
  end

  defp act(["put_meta", key, value], state) do
    :ok = Registry.put_meta(state.registry, String.to_atom(key), String.to_integer(value))
    {"ok", state}
  end

  defp act(["delete_meta", key], state) do
    :ok = Registry.delete_meta(state.registry, String.to_atom(key))
    {"ok", state}
  end

  defp act(["join", group | names], state) do
    :ok = :pg.join(state.scope, group, Enum.map(names, &state.people[&1]))
    {"ok" <> events(state), state}
  end

  defp act(["leave", group, name], state) do
    result = :pg.leave(state.scope, group, state.people[name])
    {"#{result}" <> events(state), state}
  end

  defp act(["members", group], state) do
    members = :pg.get_members(state.scope, group)
    ^members = :pg.get_local_members(state.scope, group)
    {members |> Enum.map(&state.names[&1]) |> list(), state}
  end

  defp act(["groups"], state), do: {state.scope |> :pg.which_groups() |> list(), state}

  defp act(["monitor", ear, group], state) do
    {ref, pids} = Person.ask(state.ears[ear], fn -> :pg.monitor(state.scope, group) end)
    count = map_size(state.monitors)
    state = put_in(state.monitors[ref], count)
    {pids |> Enum.map(&state.names[&1]) |> list(), state}
  end

  defp act(["monitor_scope", ear], state) do
    {ref, groups} = Person.ask(state.ears[ear], fn -> :pg.monitor_scope(state.scope) end)
    count = map_size(state.monitors)
    state = put_in(state.monitors[ref], count)
    of = fn {group, pids} -> "#{group}:#{pids |> Enum.map(&state.names[&1]) |> list()}" end
    {groups |> Enum.map(of) |> list(), state}
  end

  defp act(["demonitor", ear, number], state) do
    number = String.to_integer(number)

    case Enum.find(state.monitors, fn {_, n} -> n == number end) do
      nil ->
        {"none", state}

      {ref, _} ->
        result = Person.ask(state.ears[ear], fn -> :pg.demonitor(state.scope, ref) end)
        {"#{result}", state}
    end
  end

  defp as(state, name, fun), do: Person.ask(state.people[name], fun)

  defp entries(all, state),
    do: all |> Enum.map(fn {pid, value} -> "#{state.names[pid]}:#{value}" end) |> list()

  defp inspect_all(all), do: all |> Enum.map(&"#{&1}") |> list()
  defp list(all), do: "[" <> (all |> Enum.sort() |> Enum.join(" ")) <> "]"

  # What the listener of the registry has heard since.
  defp heard(state) do
    Enum.map_join(Person.mail(state.ear), fn
      {:register, _, key, pid, value} -> " +#{key}:#{state.names[pid]}:#{value}"
      {:unregister, _, key, pid} -> " -#{key}:#{state.names[pid]}"
    end)
  end

  # What the monitors of groups have heard since, by monitor.
  defp events(state) do
    events =
      for {_, ear} <- state.ears, {ref, verb, group, pids} <- Person.mail(ear) do
        "#{state.monitors[ref]} #{verb} #{group} #{pids |> Enum.map(&state.names[&1]) |> Enum.join(",")}"
      end

    events |> Enum.sort() |> Enum.map_join(&" | #{&1}")
  end

  defp parts(ref, so_far) do
    receive do
      {^ref, entries} -> parts(ref, [entries | so_far])
    after
      0 -> so_far
    end
  end

  defp until(fun), do: unless(fun.(), do: (Process.sleep(1); until(fun)))
end

Process.flag(:trap_exit, true)
Driver.main(hd(System.argv()))
