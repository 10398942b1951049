%% The channel: how the machine's owner talks to the running emulator from outside.
%%
%% Loaded only where a boot asks for it: UNIBEAM_CHANNEL is "ADDRESS PORT SECRET" then (in a machine that is to be
%% copied "ADDRESS PORT", and each copy is told a secret of its own; "@ADDRESS:PORT" in place of the secret is where it
%% is to be fetched from, where no console takes an answer). The first message on a connection is the secret,
%% and until it was right 256 bytes are the most that is read and five seconds the longest that is waited. After
%% that every message is {Module, Function, Arguments}, answered by {ok, Result} or {error, Text}; the modules that do
%% something worth calling are sent in. A message is four bytes of length and a term in the external format. Whoever
%% knows the secret may do with this emulator whatever a shell could: that is what it is for.
-module(unibeam_channel).

-export([open/1, open/2, serve/3, accept/2, work/2]).

-define(SECRET_BYTES, 64).
-define(GREETING_BYTES, 256).
-define(GREETING_MS, 5000).
-define(SECRET_MS, 30000).
-define(IDLE_MS, 600000).
-define(MESSAGE_BYTES, 16#1000000).
%% Connections at a time: further ones wait in the kernel.
-define(ACCEPTORS, 8).

open(Words) ->
    [Address, Port, Secret] = string:tokens(Words, " "),
    open(Address ++ " " ++ Port, Secret).

%% Returns what the mark that makes the machine ready tells the host: that it is this machine that listens.
open(Where, Secret) ->
    [Address, Port] = string:tokens(Where, " "),
    {ok, Ip} = inet:parse_address(Address),
    Self = self(),
    {Server, Monitor} = spawn_monitor(?MODULE, serve, [Self, {Ip, list_to_integer(Port)}, Secret]),
    receive
        {Server, open} -> true = erlang:demonitor(Monitor, [flush]), " channel=open";
        {'DOWN', Monitor, process, Server, Reason} ->
            _ = erlang:display_string(lists:flatten(io_lib:format(
                "\r\nunibeam: the channel cannot listen on ~s port ~s: ~0tp\r\n", [Address, Port, Reason]))),
            ""
    end.

serve(Opener, Where, "@" ++ Place) ->
    [Address, Port] = string:tokens(Place, ":"),
    {ok, Ip} = inet:parse_address(Address),
    unibeam_agent:mark("asks", ""),
    {ok, Socket} = gen_tcp:connect(Ip, list_to_integer(Port), [list, {packet, line}, {active, false}], ?SECRET_MS),
    {ok, Line} = gen_tcp:recv(Socket, 0, ?SECRET_MS),
    ok = gen_tcp:close(Socket),
    "secret " ++ Secret = lists:droplast(Line),
    serve(Opener, Where, Secret);
serve(Opener, {Ip, Port}, Text) when length(Text) =:= ?SECRET_BYTES ->
    %% Neither the secret nor what is asked can be read out of these processes.
    _ = process_flag(sensitive, true),
    Secret = list_to_binary(Text),
    case gen_tcp:listen(Port, [binary, {ip, Ip}, {packet, 4}, {packet_size, ?GREETING_BYTES}, {active, false},
                               {reuseaddr, true}, {nodelay, true}, {backlog, ?ACCEPTORS},
                               {send_timeout, 30000}, {send_timeout_close, true}]) of
        {ok, Listen} ->
            Opener ! {self(), open},
            [start_acceptor(Listen, Secret) || _ <- lists:seq(1, ?ACCEPTORS)],
            keep(Listen, Secret);
        {error, Reason} ->
            exit(Reason)
    end.

keep(Listen, Secret) ->
    receive {'DOWN', _, process, _, _} -> start_acceptor(Listen, Secret), keep(Listen, Secret) end.

%% Each serves one connection and ends with it.
start_acceptor(Listen, Secret) ->
    spawn_monitor(?MODULE, accept, [Listen, Secret]).

accept(Listen, Secret) ->
    _ = process_flag(sensitive, true),
    case gen_tcp:accept(Listen) of
        {ok, Socket} ->
            greet(Socket, Secret),
            gen_tcp:close(Socket);
        %% Out of files, say: do not spin.
        {error, _} ->
            timer:sleep(100)
    end.

greet(Socket, Secret) ->
    case gen_tcp:recv(Socket, 0, ?GREETING_MS) of
        {ok, Given} ->
            case same(Given, Secret) of
                true ->
                    ok = inet:setopts(Socket, [{packet_size, ?MESSAGE_BYTES}]),
                    _ = send(Socket, {ok, facts()}),
                    converse(Socket);
                false ->
                    send(Socket, {error, <<"refused">>})
            end;
        {error, _} ->
            ok
    end.

%% In a time that does not depend on where the two differ.
same(Given, Secret) when byte_size(Given) =:= byte_size(Secret) ->
    0 =:= lists:foldl(fun({A, B}, Sum) -> Sum bor (A bxor B) end, 0,
                      lists:zip(binary_to_list(Given), binary_to_list(Secret)));
same(_, _) ->
    false.

%% The release of OTP, and which version of the module that is sent in is here already: who sends it leaves its digest.
facts() ->
    {list_to_binary(erlang:system_info(otp_release)), persistent_term:get(unibeam_inside, <<>>)}.

converse(Socket) ->
    case gen_tcp:recv(Socket, 0, ?IDLE_MS) of
        {ok, Message} ->
            Self = self(),
            {Worker, Monitor} = spawn_monitor(?MODULE, work, [Self, Message]),
            ok = inet:setopts(Socket, [{active, once}]),
            case await(Socket, Worker, Monitor) of
                gone -> ok;
                Answer -> send(Socket, Answer) =:= ok andalso converse(Socket)
            end;
        {error, _} ->
            ok
    end.

%% Who hangs up does not want the answer any more.
await(Socket, Worker, Monitor) ->
    receive
        {Worker, Answer} ->
            true = erlang:demonitor(Monitor, [flush]),
            _ = inet:setopts(Socket, [{active, false}]),
            receive {tcp, Socket, _} -> gone; {tcp_closed, Socket} -> gone after 0 -> Answer end;
        {'DOWN', Monitor, process, Worker, Reason} ->
            {error, text(Reason)};
        {tcp_closed, Socket} -> exit(Worker, kill), gone;
        {tcp_error, Socket, _} -> exit(Worker, kill), gone;
        {tcp, Socket, _} -> exit(Worker, kill), gone
    end.

work(Server, Message) ->
    %% For who wants to know when the connection ends.
    _ = put(unibeam_connection, Server),
    Answer = try
        {Module, Function, Arguments} = binary_to_term(Message, [safe]),
        {ok, apply(Module, Function, Arguments)}
    catch
        Class:Reason:Stack -> {error, text({Class, Reason, Stack})}
    end,
    Server ! {self(), Answer}.

send(Socket, Answer) ->
    case term_to_binary(Answer) of
        Data when byte_size(Data) =< ?MESSAGE_BYTES -> gen_tcp:send(Socket, Data);
        _ -> gen_tcp:send(Socket, term_to_binary({error, <<"too large">>}))
    end.

text(Term) ->
    unicode:characters_to_binary(io_lib:format("~0tP", [Term, 20])).
