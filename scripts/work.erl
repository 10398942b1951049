-module(work).
-export([start/0, init/0]).

%% A server that computes for every answer, as a service does that makes JSON of its data: a list of records is made,
%% sorted and encoded, and a number is reckoned by calls alone.

start() ->
    proc_lib:start_link(?MODULE, init, []).

init() ->
    Port = list_to_integer(os:getenv("PORT", "8080")),
    {ok, Listen} = gen_tcp:listen(Port, [binary, {active, false}, {reuseaddr, true}, {backlog, 64}]),
    proc_lib:init_ack({ok, self()}),
    accept(Listen).

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    case gen_tcp:recv(Socket, 0) of
        {ok, _Request} ->
            Body = json(#{records => records(50), fib => fib(16)}),
            gen_tcp:send(Socket, ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
                                  "Content-Length: ", integer_to_list(iolist_size(Body)), "\r\n\r\n", Body]);
        {error, _Gone} -> ok
    end,
    gen_tcp:close(Socket),
    accept(Listen).

records(Count) ->
    Made = [#{id => N, key => (N * 7919) rem 1009, name => integer_to_list(N * N, 36)} || N <- lists:seq(1, Count)],
    lists:sort(fun(#{key := A}, #{key := B}) -> A =< B end, Made).

fib(N) when N < 2 -> N;
fib(N) -> fib(N - 1) + fib(N - 2).

json(Number) when is_integer(Number) -> integer_to_list(Number);
json([First | _] = Text) when is_integer(First) -> [$", escape(Text), $"];
json(List) when is_list(List) -> [$[, lists:join($,, [json(Each) || Each <- List]), $]];
json(Map) when is_map(Map) ->
    Pairs = [[$", atom_to_list(Key), "\":", json(Value)] || {Key, Value} <- lists:sort(maps:to_list(Map))],
    [${, lists:join($,, Pairs), $}].

escape(Text) -> [case C of $" -> "\\\""; $\\ -> "\\\\"; _ -> C end || C <- Text].
