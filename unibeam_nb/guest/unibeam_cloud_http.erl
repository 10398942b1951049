%% HTTP as a metadata service speaks it, over the emulator's own socket driver: no names (whoever answers is an IPv4
%% address), no TLS, no redirects; an answer of bounded size within a bounded time.
-module(unibeam_cloud_http).

-export([get/4, put/4]).

-define(HEAD_ROOM, 16384).
-define(ATTEMPT_MS, 3000).

%% {ok, Body}, {status, Code}, or {error, Why}. Least is a monotonic time in ms at which it is given up.
get(Url, Headers, Limit, Deadline) -> request("GET", Url, Headers, Limit, Deadline).

put(Url, Headers, Limit, Deadline) -> request("PUT", Url, Headers, Limit, Deadline).

request(Method, Url, Headers, Limit, Deadline) ->
    case address(Url) of
        {error, Why} -> {error, Why};
        {Host, Ip, Port, Path} ->
            Lines = [[Name, ": ", Value, "\r\n"] || {Name, Value} <- Headers],
            Text = [Method, " ", Path, " HTTP/1.0\r\nHost: ", Host, "\r\nUser-Agent: unibeam\r\nContent-Length: 0\r\n",
                    Lines, "\r\n"],
            attempt(Ip, Port, Text, Limit, Deadline)
    end.

%% A network that is just up may refuse the first attempts.
attempt(Ip, Port, Text, Limit, Deadline) ->
    case once(Ip, Port, Text, Limit, Deadline) of
        {again, Why} ->
            case now_ms() + 500 < Deadline of
                true -> receive after 500 -> ok end, attempt(Ip, Port, Text, Limit, Deadline);
                false -> {error, ["it does not answer (", atom_to_list(Why), ")"]}
            end;
        Answer -> Answer
    end.

once(Ip, Port, Text, Limit, Deadline) ->
    {ok, Socket} = prim_inet:open(tcp, inet, stream),
    try
        ok = prim_inet:setopts(Socket, [{mode, binary}, {active, false}]),
        Patience = max(1, min(?ATTEMPT_MS, Deadline - now_ms())),
        case prim_inet:connect(Socket, Ip, Port, Patience) of
            {error, Why} -> {again, Why};
            ok ->
                case prim_inet:send(Socket, Text) of
                    ok -> answer(receive_all(Socket, <<>>, Limit + ?HEAD_ROOM, Deadline), Limit);
                    {error, Why} -> {again, Why}
                end
        end
    after
        prim_inet:close(Socket)
    end.

receive_all(_, Got, Most, _) when byte_size(Got) > Most -> Got;
receive_all(Socket, Got, Most, Deadline) ->
    case prim_inet:recv(Socket, 0, max(1, Deadline - now_ms())) of
        {ok, More} -> receive_all(Socket, <<Got/binary, More/binary>>, Most, Deadline);
        {error, closed} -> Got;
        {error, Why} -> {error, ["it stopped in the middle (", atom_to_list(Why), ")"]}
    end.

answer({error, Why}, _) -> {error, Why};
answer(Bytes, Limit) ->
    case {binary:split(Bytes, <<"\r\n\r\n">>), Bytes} of
        {[_, Body], _} when byte_size(Body) > Limit -> {error, too_large};
        {[Head, Body], <<"HTTP/1.", _, " 200", _/binary>>} -> whole(Head, Body);
        {[_, _], <<"HTTP/1.", _, " ", Code:3/binary, _/binary>>} -> {status, Code};
        _ -> {error, "what answers there does not speak HTTP"}
    end.

%% An answer that is shorter than it says was cut off.
whole(Head, Body) ->
    Lengths = [Length || Line <- binary:split(Head, <<"\r\n">>, [global]),
                         [Name, Length] <- [binary:split(Line, <<":">>)], lower(Name) =:= <<"content-length">>],
    case Lengths of
        [Length | _] ->
            case catch binary_to_integer(digits(Length)) of
                Count when Count =:= byte_size(Body) -> {ok, Body};
                _ -> {error, "its answer is cut short"}
            end;
        [] -> {ok, Body}
    end.

digits(Text) -> << <<Byte>> || <<Byte>> <= Text, Byte =/= $\s >>.

lower(Text) -> << <<(Byte bor 32)>> || <<Byte>> <= Text >>.

%% "http://10.0.0.1:80/path" as {Host, Ip, Port, Path}.
address("http://" ++ Rest) ->
    {Host, Path} = upto($/, Rest, []),
    {Numbers, Port} = upto($:, Host, []),
    try
        {Host, ip(Numbers), case Port of ":" ++ Digits -> list_to_integer(Digits); "" -> 80 end,
         case Path of "" -> "/"; _ -> Path end}
    catch
        error:_ -> {error, "its address must be an IPv4 address"}
    end;
address(_) ->
    {error, "only http:// is read"}.

ip(Text) ->
    {A, "." ++ R1} = upto($., Text, []),
    {B, "." ++ R2} = upto($., R1, []),
    {C, "." ++ D} = upto($., R2, []),
    {byte(A), byte(B), byte(C), byte(D)}.

byte(Text) ->
    Number = list_to_integer(Text),
    true = Number >= 0 andalso Number < 256,
    Number.

upto(Character, [Character | _] = Rest, Done) -> {lists:reverse(Done, []), Rest};
upto(Character, [One | Rest], Done) -> upto(Character, Rest, [One | Done]);
upto(_, [], Done) -> {lists:reverse(Done, []), ""}.

now_ms() -> erlang:monotonic_time(millisecond).
