%% The application callback of a cell whose main module exports start/0 and is no application itself.
%%
%% start/0 runs in a process of its own that stays alive afterwards, because it owns what start/0 opened
%% (a listening socket, a table). When that process, or one linked to it, fails, the node ends: nothing
%% is restarted behind the user's back.
-module(unibeam_cell).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1, main/1, run/2, wait/0]).

-define(PATIENCE_MS, 10000).

start(_Type, [Module]) ->
    case supervisor:start_link(?MODULE, Module) of
        {ok, Supervisor} -> {ok, Supervisor};
        {error, {shutdown, {failed_to_start_child, _Id, Reason}}} -> {error, Reason};
        {error, Reason} -> {error, Reason}
    end.

stop(_State) ->
    ok.

init(Module) ->
    Main = #{id => Module, start => {?MODULE, main, [Module]}},
    {ok, {#{strategy => one_for_one, intensity => 0, period => 1}, [Main]}}.

main(Module) ->
    proc_lib:start_link(?MODULE, run, [self(), Module]).

run(Parent, Module) ->
    Watcher = spawn(fun() -> watch(Module) end),
    try Module:start() of
        {error, Reason} ->
            fail(Parent, Module, "returned", io_lib:format("~tp", [{error, Reason}]), Reason);
        {ok, Pid} when is_pid(Pid) ->
            true = link(Pid),
            serve(Parent, Watcher);
        _ ->
            serve(Parent, Watcher)
    catch
        Class:Reason:Stack ->
            fail(Parent, Module, "failed:", explain(Class, Reason, Stack), Reason)
    end.

serve(Parent, Watcher) ->
    Watcher ! returned,
    proc_lib:init_ack(Parent, {ok, self()}),
    wait().

wait() ->
    receive _ -> wait() after 0 -> proc_lib:hibernate(?MODULE, wait, []) end.

fail(Parent, Module, What, Text, Reason) ->
    say(Module, [What, " ", Text]),
    proc_lib:init_ack(Parent, {error, Reason}),
    exit(normal).

watch(Module) ->
    receive
        returned -> ok
    after ?PATIENCE_MS ->
        say(Module, "has not returned yet; let it spawn its loop and return, so that the machine can become ready.")
    end.

%% Written past the I/O system, which may be going down by now.
say(Module, Text) ->
    Line = io_lib:format("~nunibeam: ~ts:start/0 ~ts~n", [module_name(Module), Text]),
    _ = erlang:display_string(lists:flatten(string:replace(Line, "\n", "\r\n", all))),
    ok.

module_name(Module) ->
    case atom_to_list(Module) of
        "Elixir." ++ Name -> Name;
        Name -> Name
    end.

explain(Class, Reason, Stack) ->
    case code:ensure_loaded('Elixir.Exception') of
        {module, Elixir} -> Elixir:format(Class, Reason, Stack);
        _ -> erl_error:format_exception(Class, Reason, Stack)
    end.
