%% The guest agent of a machine that is copied while it runs, and of its copies; see orders.c.
%%
%% Loaded only where PID 1 says so (UNIBEAM_SNAPSHOT is the number of an open file, one end of a line to PID 1).
%% Every loaded module that exports before_snapshot/0 is called before the snapshot, every one that exports
%% after_resume/0 in each copy, in alphabetical order. From `still` to the new random numbers no other Erlang
%% process runs, so none can hand out what another copy hands out too. What a process keeps for itself, such as
%% the state of `rand` in its dictionary or a key it made, is the same in every copy: renewing it is the hooks' work.
-module(unibeam_resume).

-export([start/2, serve/2]).

%% `Channel` is where a copy opens its channel, or none.
start(Line, Channel) ->
    true = os:unsetenv("UNIBEAM_SNAPSHOT"),
    _ = spawn(?MODULE, serve, [list_to_integer(Line), Channel]),
    ok.

serve(File, Channel) ->
    Port = open_port({fd, File, File}, [binary, {line, 1024}]),
    Nonce = receive {Port, {data, {eol, <<"prepare ", Given/binary>>}}} -> Given end,
    call_all(before_snapshot, exporting(before_snapshot)),
    %% Whatever need not wait is done now and not once for every copy.
    Renewing = exporting(after_resume),
    {ok, Host} = inet:gethostname(),
    Memory = unibeam_agent:memory(),
    {module, binary} = code:ensure_loaded(binary),
    Console = unibeam_agent:console(),
    [NewNonce, NewHost, _Seed, Cookie | Secret] = alone(Port, binary_to_list(Nonce)),
    rename(Host, binary_to_list(NewHost), binary_to_atom(Cookie)),
    call_all(after_resume, Renewing),
    unibeam_agent:mark(Console, binary_to_list(NewNonce), "resume", Memory ++ open(Channel, Secret)),
    %% The port ends with its owner.
    receive never -> ok end.

%% With one scheduler left and the highest priority, a process that never waits runs alone. So the order is
%% looked for again and again; the machine is stopped meanwhile. Only BIFs, NIFs and loaded code in here.
alone(Port, Nonce) ->
    _ = process_flag(priority, max),
    _ = erlang:system_flag(multi_scheduling, block),
    %% A file is written to by another thread, which waits, too.
    unibeam_agent:mark({error, alone}, Nonce, "still", ""),
    Words = [_Nonce, _Host, Seed, _Cookie | _Secret] = await(Port),
    %% OpenSSL has a generator of its own, which knows nothing of copies. Where it is not loaded yet it starts
    %% from the kernel's.
    _ = erlang:function_exported(crypto, rand_seed, 1) andalso
        crypto:rand_seed(<<(binary_to_integer(Seed, 16)):256>>),
    %% With `+C single_time_warp` Erlang's clock follows the operating system's new one at once, this one time.
    _ = erlang:system_flag(time_offset, finalize),
    _ = erlang:system_flag(multi_scheduling, unblock),
    _ = process_flag(priority, normal),
    Words.

await(Port) ->
    receive
        {Port, {data, {eol, <<"resume ", Words/binary>>}}} -> binary:split(Words, <<" ">>, [global])
    after 0 ->
        await(Port)
    end.

open(Channel, [Secret]) when Channel =/= none -> unibeam_channel:open(Channel, binary_to_list(Secret));
open(_Channel, _Secret) -> "".

rename(OldHost, NewName, Cookie) ->
    {NewHost, _Domain} = lists:splitwith(fun(Character) -> Character =/= $. end, NewName),
    ok = inet_db:set_hostname(NewHost),
    case {node(), whereis(mnesia_sup)} of
        {nonode@nohost, _} ->
            ok;
        {Node, undefined} ->
            Names = case net_kernel:longnames() of true -> longnames; false -> shortnames end,
            stop_distribution(),
            {ok, _} = net_kernel:start([new_node(atom_to_list(Node), OldHost, NewHost), Names]),
            true = erlang:set_cookie(Cookie);
        {Node, _} ->
            say("the node keeps its name ~ts, which the tables of Mnesia are bound to.", [Node]),
            true = erlang:set_cookie(Cookie)
    end.

%% A node that was named on the command line refuses net_kernel:stop/0.
stop_distribution() ->
    case net_kernel:stop() of
        ok -> ok;
        {error, _} -> ok = supervisor:terminate_child(kernel_sup, net_sup)
    end.

%% shop@beam.unibeam becomes shop@beam-1a2b3c.unibeam; another host part stays, then the name tells copies apart.
new_node(Node, OldHost, NewHost) ->
    [Name, Host] = string:split(Node, "@"),
    case string:split(Host, ".") of
        [OldHost | Domain] -> list_to_atom(lists:flatten([Name, "@", lists:join($., [NewHost | Domain])]));
        _ -> list_to_atom(lists:append([Name, "-", NewHost, "@", Host]))
    end.

exporting(Function) ->
    lists:sort([Module || {Module, _} <- code:all_loaded(), erlang:function_exported(Module, Function, 0)]).

call_all(Function, Modules) ->
    lists:foreach(fun(Module) -> call(Module, Function) end, Modules).

%% A copy whose own renewal failed must not serve anybody with another one's secrets.
call(Module, Function) ->
    try Module:Function()
    catch
        Class:Reason:Stack ->
            say("~ts:~ts/0 failed: ~ts", [Module, Function, erl_error:format_exception(Class, Reason, Stack)]),
            erlang:halt(1)
    end.

say(Format, Values) ->
    Line = io_lib:format("~nunibeam: " ++ Format ++ "~n", Values),
    _ = erlang:display_string(lists:flatten(string:replace(Line, "\n", "\r\n", all))),
    ok.
